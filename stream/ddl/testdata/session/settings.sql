SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'; SET xmloption = document; SET search_path = g, "$user", "odd ""one"""
-- then
CREATE TABLE a (d date DEFAULT '31.12.2024')
