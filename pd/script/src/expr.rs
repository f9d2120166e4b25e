//! Expressions: arguments and results of system calls.

use crate::ast::Expr;
use crate::lex::Kind;
use crate::parse::{Parser, Result, int};
use crate::symbols;

impl Parser {
    /// One argument.
    pub(crate) fn expr(&mut self) -> Result<Expr> {
        self.nested(Parser::expr_inner)
    }

    fn expr_inner(&mut self) -> Result<Expr> {
        match self.peek().cloned() {
            Some(Kind::Ellipsis) => {
                self.advance();
                Ok(Expr::Ellipsis)
            }
            Some(Kind::Text(t)) => {
                self.advance();
                Ok(Expr::Text(t))
            }
            Some(Kind::Sign('[')) => {
                self.advance();
                self.members(']').map(|m| Expr::List(m.into_iter().map(|m| m.1).collect()))
            }
            Some(Kind::Sign('{')) => {
                self.advance();
                self.members('}').map(Expr::Struct)
            }
            Some(Kind::Sign('-')) => {
                self.advance();
                Ok(Expr::Int(-self.number::<i64>("a number")?))
            }
            Some(Kind::Word(w)) => {
                self.advance();
                if int(&w).is_none() && self.is('(') {
                    self.advance();
                    let args = self.members(')')?.into_iter().map(|m| m.1).collect();
                    return Ok(Expr::Call(w, args));
                }
                self.or(&w)
            }
            _ => self.fail(format!("a value is missing before {}", self.next_word())),
        }
    }

    /// `A | B | 0x10`
    fn or(&mut self, first: &str) -> Result<Expr> {
        let value = |w: &str| int(w).or_else(|| symbols::constant(w));
        let Some(mut n) = value(first) else {
            return if self.is('|') {
                self.fail(format!("{first} is no known constant"))
            } else {
                Ok(Expr::Name(first.to_string()))
            };
        };
        while self.take('|') {
            let w = self.word("a constant")?;
            match value(&w) {
                Some(v) => n |= v,
                None => return self.fail(format!("{w} is no known constant")),
            }
        }
        Ok(Expr::Int(n))
    }

    /// What stands up to a closing bracket: values, `name=value`, `name(n)=value`.
    fn members(&mut self, end: char) -> Result<Vec<(String, Expr)>> {
        let mut v = Vec::new();
        while !self.take(end) {
            let mut name = String::new();
            if let Some(Kind::Word(w)) = self.peek().cloned() {
                // name(...)=, name(2)=
                let counted = self.peek_at(1) == Some(&Kind::Sign('('))
                    && self.peek_at(3) == Some(&Kind::Sign(')'))
                    && self.peek_at(4) == Some(&Kind::Sign('='));
                if counted || self.peek_at(1) == Some(&Kind::Sign('=')) {
                    for _ in 0..if counted { 5 } else { 2 } {
                        self.advance();
                    }
                    name = w;
                }
            }
            v.push((name, self.expr()?));
            if !self.is(end) {
                self.need(',')?;
            }
        }
        Ok(v)
    }
}
