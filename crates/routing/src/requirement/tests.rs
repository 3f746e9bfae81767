//! Requirements: reading, printing, one form, meaning.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<NamedRequirement, RequirementError> {
    text.parse()
}

// Goal: what people write is read as they mean it, and prints in one form.
#[test]
fn requirements_are_read() {
    for (text, printed) in [
        ("", "anybody"),
        ("anybody", "anybody"),
        ("spanish", "spanish"),
        (" spanish >= 5 ", "spanish>=5"),
        ("spanish>=1", "spanish"),
        ("b and a", "(a and b)"),
        ("a or b and c", "(a or (b and c))"),
        ("(a or b) and c", "(c and (a or b))"),
        ("a and (b and (c))", "(a and b and c)"),
        ("not not a", "a"),
        ("not anybody", "not anybody"),
        ("not not anybody", "anybody"),
        ("not (a or b)", "not (a or b)"),
        ("site:lon and not site:fra", "(site:lon and not site:fra)"),
        ("a and a", "a"),
        ("spanish > 6", "spanish>=7"),
        ("spanish <= 10", "spanish"),
        ("spanish<5", "(spanish and not spanish>=5)"),
        ("spanish = 7", "(spanish and spanish>=7 and not spanish>=8)"),
        ("spanish == 10", "(spanish and spanish>=10)"),
        ("spanish != 7", "not (spanish and spanish>=7 and not spanish>=8)"),
        ("team = red", "team=red"),
        ("team!=red and site:lon", "(site:lon and not team=red)"),
        ("agent:amy or agent:bob", "(agent:amy or agent:bob)"),
    ] {
        assert_eq!(parse(text).map(|r| r.to_string()), Ok(printed.to_owned()), "{text}");
    }
}

// Goal: every broken text names the place and what was expected; levels are checked.
#[test]
fn broken_requirements_are_refused() {
    for (text, part) in [
        ("and", "expected a skill"),
        ("spanish >= 7 andbilling", "at character 14: expected 'and'"),
        ("a and or b", "at character 7: expected a skill"),
        ("é", "at character 1:"),
        ("a and é", "at character 7:"),
        ("a => 3", "at character 3: expected '>='"),
        ("a > b", "at character 5: expected a level"),
        ("team = (", "at character 8: expected a level from 1 to 10, or"),
        ("a > 10", "out of range"),
        ("a < 1", "out of range"),
        ("agent:", "at character 1: expected an agent's name"),
        ("a and", "expected a skill"),
        ("a b", "expected 'and'"),
        ("(a", "expected ')'"),
        ("a)", "expected 'and'"),
        ("a >=", "expected a level"),
        ("a >= 0", "out of range"),
        ("a >= 11", "out of range"),
        ("a >= 99999999999", "out of range"),
        ("site:", "a site's name"),
        ("or", "expected a skill"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = format!("{}a{}", "(".repeat(9), ")".repeat(9));
    assert_eq!(parse(&deep), Err(RequirementError::TooLarge));
    let long = (0..REQUIREMENT_TERMS_MAX).map(|i| format!("s{i}")).collect::<Vec<_>>();
    assert_eq!(parse(&long.join(" and ")), Err(RequirementError::TooLarge));
    assert!(parse(&long[1..].join(" and ")).is_ok());
}

fn named(what: &str, n: u32) -> Name {
    format!("{what}{n}").parse().unwrap()
}

struct Spelled;

impl Translate<SkillId, SiteId, AgentId> for Spelled {
    type Skill = Name;
    type Site = Name;
    type Agent = Name;
    type Error = ();

    fn skill(&mut self, skill: &SkillId) -> Result<Name, ()> {
        Ok(named("skill", skill.0))
    }
    fn site(&mut self, site: &SiteId) -> Result<Name, ()> {
        Ok(named("place", site.0))
    }
    fn agent(&mut self, agent: &AgentId) -> Result<Name, ()> {
        Ok(named("person", agent.0))
    }
}

fn arbitrary() -> impl Strategy<Value = BoundRequirement> {
    let leaf = prop_oneof![
        (0u32..4, 1u8..=10)
            .prop_map(|(s, l)| Requirement::Skill { skill: SkillId(s), level_min: l }),
        (0u32..3).prop_map(|s| Requirement::Site(SiteId(s))),
        (0u32..3).prop_map(|n| Requirement::Agent(AgentId(n))),
        (0u32..2, 0u32..2).prop_map(|(key, value)| Requirement::Attribute {
            key: named("key", key),
            value: named("value", value),
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Requirement::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Requirement::Any),
            inner.prop_map(|r| Requirement::Not(Box::new(r))),
        ]
    })
}

proptest! {
    // Goal: the canonical form means the same as the original, for every agent, and is stable.
    #[test]
    fn canonical_means_the_same(
        requirement in arbitrary(),
        skills in prop::collection::btree_map((0u32..4).prop_map(SkillId), 1u8..=10, 0..4),
        site in (0u32..3).prop_map(SiteId),
        agent in (0u32..3).prop_map(AgentId),
        attributes in prop::collection::btree_map(
            (0u32..2).prop_map(|n| named("key", n)),
            (0u32..2).prop_map(|n| named("value", n)),
            0..2,
        ),
    ) {
        let canonical = requirement.canonical();
        let by = Abilities { agent, site, skills: &skills, attributes: &attributes };
        prop_assert_eq!(canonical.is_met(&by), requirement.is_met(&by));
        prop_assert_eq!(canonical.canonical(), canonical);
    }

    // Goal: printing and reading back gives the same requirement; reading never panics.
    #[test]
    fn text_round_trip(requirement in arbitrary(), noise in "\\PC{0,40}") {
        let named = requirement
            .canonical()
            .translate(&mut Spelled)
            .unwrap()
            // Ids and names sort differently.
            .canonical();
        if let Ok(read) = parse(&named.to_string()) {
            prop_assert_eq!(read, named);
        } else {
            prop_assert_eq!(named.check(), Err(RequirementError::TooLarge));
        }
        prop_assert!(parse(&noise).is_ok() || parse(&noise).is_err());
    }
}
