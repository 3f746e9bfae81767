//! Requirements as people write them.
//!
//! ```text
//! any   := all ("or" all)*
//! all   := term ("and" term)*
//! term  := "not" term | "(" any ")" | "anybody" | "site:" NAME | "agent:" NAME | word
//! word  := SKILL | SKILL compare LEVEL | ATTRIBUTE ("=" | "==" | "!=") VALUE
//! compare := ">=" | ">" | "<=" | "<" | "=" | "==" | "!="
//! ```
//!
//! A comparison with a number is one of a skill's level: `spanish < 5` is met by those who have the skill
//! at a lower level, not by those who have it not. `!=` is "not equal" of either.

use std::str::FromStr;

use super::{NamedRequirement, Requirement, RequirementError};
use crate::{
    limits::{LEVEL_MAX, REQUIREMENT_DEPTH_MAX},
    name::Name,
};

impl FromStr for NamedRequirement {
    type Err = RequirementError;

    /// Reads the grammar above; `and` binds stronger than `or`. An empty text or `anybody` is met by
    /// everybody.
    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let mut parser = Parser { text, rest: text, depth: 0 };
        if parser.peek().is_empty() {
            return Ok(Self::anybody());
        }
        let requirement = parser.any_of()?;
        if !parser.peek().is_empty() {
            return Err(parser.error("'and', 'or' or the end"));
        }
        let requirement = requirement.canonical();
        requirement.check()?;
        Ok(requirement)
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// The next token without taking it; empty at the end.
    fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        let len = match rest.chars().next() {
            None => 0,
            Some('(' | ')') => 1,
            Some(c) if is_comparison(c) => rest.find(|c| !is_comparison(c)).unwrap_or(rest.len()),
            Some(c) if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            Some(c) => c.len_utf8(),
        };
        rest.get(..len).unwrap_or("")
    }

    fn take(&mut self) -> &'a str {
        let token = self.peek();
        self.rest = self.rest.trim_start().get(token.len()..).unwrap_or("");
        token
    }

    fn take_if(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        if found {
            self.take();
        }
        found
    }

    /// Points at the next token.
    fn error(&self, expected: &'static str) -> RequirementError {
        let before = self.text.len() - self.rest.trim_start().len();
        let at = self.text.get(..before).unwrap_or("").chars().count() + 1;
        RequirementError::Syntax { text: self.text.to_owned(), at, expected }
    }

    fn any_of(&mut self) -> Result<NamedRequirement, RequirementError> {
        let mut terms = vec![self.all_of()?];
        while self.take_if("or") {
            terms.push(self.all_of()?);
        }
        Ok(Requirement::Any(terms))
    }

    fn all_of(&mut self) -> Result<NamedRequirement, RequirementError> {
        let mut terms = vec![self.term()?];
        while self.take_if("and") {
            terms.push(self.term()?);
        }
        Ok(Requirement::All(terms))
    }

    fn term(&mut self) -> Result<NamedRequirement, RequirementError> {
        self.depth += 1;
        if self.depth > REQUIREMENT_DEPTH_MAX {
            return Err(RequirementError::TooLarge);
        }
        let term = match self.peek() {
            "(" => {
                self.take();
                let inner = self.any_of()?;
                if !self.take_if(")") {
                    return Err(self.error("')'"));
                }
                inner
            }
            "not" => {
                self.take();
                Requirement::Not(Box::new(self.term()?))
            }
            "anybody" => {
                self.take();
                Requirement::anybody()
            }
            word if word.starts_with("site:") => {
                Requirement::Site(self.name_after("site:", "a site's name after 'site:'")?)
            }
            word if word.starts_with("agent:") => {
                Requirement::Agent(self.name_after("agent:", "an agent's name after 'agent:'")?)
            }
            _ => self.skill_or_attribute()?,
        };
        self.depth -= 1;
        Ok(term)
    }

    fn name_after(
        &mut self,
        prefix: &str,
        expected: &'static str,
    ) -> Result<Name, RequirementError> {
        match self.peek().strip_prefix(prefix).map(str::parse) {
            Some(Ok(name)) => {
                self.take();
                Ok(name)
            }
            _ => Err(self.error(expected)),
        }
    }

    fn name(&mut self, expected: &'static str) -> Result<Name, RequirementError> {
        match self.peek() {
            "and" | "or" | "not" | "anybody" => Err(self.error(expected)),
            word => word.parse().map_err(|_| self.error(expected)).inspect(|_| {
                self.take();
            }),
        }
    }

    fn skill_or_attribute(&mut self) -> Result<NamedRequirement, RequirementError> {
        let word = self.name("a skill, ATTRIBUTE=VALUE, 'site:NAME', 'agent:NAME' or '('")?;
        let compare = self.peek();
        if !compare.starts_with(is_comparison) {
            return Ok(at_least(&word, 1));
        }
        let known = [">=", ">", "<=", "<", "=", "==", "!="];
        if !known.contains(&compare) {
            return Err(self.error("'>=', '>', '<=', '<', '=' or '!='"));
        }
        self.take();
        if let Ok(level) = self.peek().parse::<u64>() {
            let term =
                compared(&word, compare, level).ok_or(RequirementError::LevelRange(level))?;
            self.take();
            return Ok(term);
        }
        let term = |value| Requirement::Attribute { key: word, value };
        match compare {
            "=" | "==" => Ok(term(self.name("a level from 1 to 10, or an attribute's value")?)),
            "!=" => {
                let value = self.name("a level from 1 to 10, or an attribute's value")?;
                Ok(Requirement::Not(Box::new(term(value))))
            }
            _ => Err(self.error("a level from 1 to 10")),
        }
    }
}

/// A comparison of a skill's level, by the one that there is; `None` when nobody or everybody who has the
/// skill would be meant by mistake.
fn compared(skill: &Name, compare: &str, level: u64) -> Option<NamedRequirement> {
    let level = u8::try_from(level).ok().filter(|level| (1..=LEVEL_MAX).contains(level))?;
    let at_most = |level: u8| match level {
        LEVEL_MAX => at_least(skill, 1),
        level => {
            let more = Requirement::Not(Box::new(at_least(skill, level + 1)));
            Requirement::All(vec![at_least(skill, 1), more])
        }
    };
    let exactly = |level: u8| Requirement::All(vec![at_least(skill, level), at_most(level)]);
    match compare {
        ">=" => Some(at_least(skill, level)),
        ">" => (level < LEVEL_MAX).then(|| at_least(skill, level + 1)),
        "<=" => Some(at_most(level)),
        "<" => (level > 1).then(|| at_most(level - 1)),
        "!=" => Some(Requirement::Not(Box::new(exactly(level)))),
        _ => Some(exactly(level)),
    }
}

fn at_least(skill: &Name, level_min: u8) -> NamedRequirement {
    Requirement::Skill { skill: skill.clone(), level_min }
}

fn is_comparison(c: char) -> bool {
    "<>=!".contains(c)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-+:".contains(c)
}
