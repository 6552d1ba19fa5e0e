package main

var repositoryHints = []hintCase{}
var targetHints = []hintCase{}
var restoreHints = []hintCase{}
var unprovoked = map[string]string{}
