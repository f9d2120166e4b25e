//! Words of the language.

/// A word and its line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub line: u32,
    pub kind: Kind,
    /// It begins a line.
    pub first: bool,
    /// Something other than white space stands right before it.
    pub glued: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A name, a number, or both: letters, digits, `_`. Also `S.`? No: the dot is a word of its own.
    Word(String),
    Text(String),
    Command(String),
    Code(String),
    /// `--name=value`
    Option(String, String),
    Ellipsis,
    /// Any other character.
    Sign(char),
}

/// Splits a script; the error names the line.
pub(crate) fn words(src: &str) -> Result<Vec<Token>, (u32, String)> {
    let mut l = Lexer { rest: src, line: 1, first: true, glued: false, out: Vec::new() };
    while l.next()? {}
    Ok(l.out)
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    first: bool,
    glued: bool,
    out: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn push(&mut self, kind: Kind) {
        let (first, glued) = (std::mem::take(&mut self.first), self.glued);
        self.out.push(Token { line: self.line, kind, first, glued });
        self.glued = true;
    }

    /// Takes what stands before `end`, and `end`.
    fn until(&mut self, skip: usize, end: &str, what: &str) -> Result<&'a str, (u32, String)> {
        let body = self.rest.get(skip..).unwrap_or("");
        let n = body.find(end).ok_or_else(|| (self.line, format!("{what} has no end: {end} is missing")))?;
        self.rest = body.get(n + end.len()..).unwrap_or("");
        Ok(body.get(..n).unwrap_or(""))
    }

    fn lines(&mut self, s: &str) {
        self.line += s.matches('\n').count() as u32;
    }

    fn next(&mut self) -> Result<bool, (u32, String)> {
        let Some(c) = self.rest.chars().next() else { return Ok(false) };
        if c == '\n' {
            (self.line, self.first) = (self.line + 1, true);
        }
        if c.is_whitespace() {
            self.glued = false;
            self.rest = self.rest.get(c.len_utf8()..).unwrap_or("");
            return Ok(true);
        }
        let r = self.rest;
        if r.starts_with("//") || (c == '#' && self.first) {
            let n = r.find('\n').unwrap_or(r.len());
            self.rest = r.get(n..).unwrap_or("");
        } else if r.starts_with("/*") {
            let body = self.until(2, "*/", "a comment")?;
            self.lines(body);
        } else if r.starts_with("%{") {
            let body = self.until(2, "}%", "code")?;
            self.push(Kind::Code(body.to_string()));
            self.lines(body);
        } else if c == '`' {
            let body = self.until(1, "`", "a command")?;
            self.push(Kind::Command(body.to_string()));
            self.lines(body);
        } else if c == '"' {
            let body = self.until(1, "\"", "a text")?;
            self.push(Kind::Text(body.to_string()));
            self.lines(body);
        } else if r.starts_with("...") {
            self.rest = r.get(3..).unwrap_or("");
            self.push(Kind::Ellipsis);
        } else if r.starts_with("--") && self.first {
            let n = r.find(char::is_whitespace).unwrap_or(r.len());
            let (name, value) =
                r.get(2..n).unwrap_or("").split_once('=').unwrap_or((r.get(2..n).unwrap_or(""), ""));
            self.push(Kind::Option(name.to_string(), value.to_string()));
            self.first = true;
            self.rest = r.get(n..).unwrap_or("");
        } else if c.is_ascii_alphanumeric() || c == '_' {
            let n = r.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(r.len());
            self.push(Kind::Word(r.get(..n).unwrap_or("").to_string()));
            self.rest = r.get(n..).unwrap_or("");
        } else {
            self.push(Kind::Sign(c));
            self.rest = r.get(c.len_utf8()..).unwrap_or("");
        }
        Ok(true)
    }
}
