package repo

import "pg_scribe/internal/sqltext"

// These pass on to sqltext what packages above still ask this one for. New code
// names sqltext.

type Token = sqltext.Token

func SplitSQL(text string, conforming bool) ([]string, bool) { return sqltext.Split(text, conforming) }
func Tokens(statement string, conforming bool) []Token       { return sqltext.Tokens(statement, conforming) }
func Literal(value string) string                            { return sqltext.Literal(value) }
func Identifier(name string) string                          { return sqltext.Identifier(name) }
func AppendLiteral(dst, value []byte) []byte                 { return sqltext.AppendLiteral(dst, value) }
