//! Round trips that were measured between real places, as delays for a network whose sites are
//! named after them.
//!
//! They are old and from single hosts: good for the shape of a network (what is near, what is far),
//! not for promises about it. Detours are left in, because real networks have them: packets from
//! Paris to Zurich took 108 ms in 2011, those from Milan 11.

use super::model::{LinkSettings, Network, NetworkError, Party};

/// A matrix of measured round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name that it is asked for by.
    pub name: &'static str,
    /// Who measured, and when.
    pub source: &'static str,
    /// The places, each the name of a site.
    pub places: &'static [&'static str],
    /// Round trips in hundredths of a millisecond: row by row from each place to the ones after it.
    upper_triangle: &'static [&'static [u32]],
}

/// Every preset.
pub const PRESETS: &[Preset] = &[CITIES_2011, REGIONS_2017];

const CITIES_2011: Preset = Preset {
    name: "cities-2011",
    source: "pings between hosted servers; wonderproxy.com/blog/miles-per-milisecond, February 2011",
    places: &["dallas", "fremont", "milan", "moscow", "new-york", "paris", "zurich"],
    upper_triangle: &[
        &[4_400, 14_000, 16_800, 3_680, 13_094, 12_774],
        &[16_785, 21_459, 7_843, 17_622, 16_716],
        &[6_708, 11_217, 2_161, 1_117],
        &[13_129, 5_674, 6_029],
        &[7_833, 10_103],
        &[10_806],
        &[],
    ],
};

const REGIONS_2017: Preset = Preset {
    name: "regions-2017",
    source: "averages between the regions of one cloud; \
             acomputerscientistlearnsaws.blogspot.com/2017/04/aws-regions.html, April 2017",
    places: &[
        "n-virginia",
        "n-california",
        "oregon",
        "ireland",
        "frankfurt",
        "tokyo",
        "seoul",
        "singapore",
        "sydney",
        "sao-paulo",
    ],
    upper_triangle: &[
        &[7_274, 8_698, 8_055, 8_866, 14_530, 17_840, 21_670, 23_000, 11_950],
        &[1_946, 15_320, 16_660, 10_250, 13_150, 17_400, 15_750, 19_270],
        &[13_700, 15_950, 8_910, 11_830, 16_140, 16_220, 18_270],
        &[1_956, 21_240, 24_240, 23_900, 30_960, 19_130],
        &[23_650, 26_620, 32_590, 32_350, 19_490],
        &[3_144, 7_379, 10_390, 25_680],
        &[7_187, 13_400, 28_630],
        &[17_530, 32_810],
        &[32_250],
        &[],
    ],
};

/// A preset that is not there, or does not know a site.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PresetError {
    /// No preset has that name.
    #[error("no preset {name:?}; there are {known}")]
    Unknown {
        /// Which was meant.
        name: String,
        /// Which there are.
        known: String,
    },
    /// A site is not one of its places.
    #[error(
        "preset {preset} has no place {site:?}: name the site after one of {places}, or set its links one by one"
    )]
    UnknownPlace {
        /// The preset.
        preset: &'static str,
        /// The site.
        site: String,
        /// The places it has.
        places: String,
    },
    /// The network refused the delays.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Preset {
    /// The preset of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<&'static Self, PresetError> {
        PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
            let known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            PresetError::Unknown { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// The round trip between two different places, in microseconds. None if one is not in it.
    #[must_use]
    pub fn round_trip_us(&self, one: &str, other: &str) -> Option<u64> {
        let index = |name| self.places.iter().position(|place| *place == name);
        let (one, other) = (index(one)?, index(other)?);
        let (low, high) = (one.min(other), one.max(other));
        let hundredths_ms = self.upper_triangle.get(low)?.get(high.checked_sub(low + 1)?)?;
        Some(u64::from(*hundredths_ms) * 10)
    }

    /// Gives every link between two sites half of their round trip as its delay, each way. Links
    /// within a site, and whatever else the links do, stay.
    ///
    /// # Errors
    /// A site is not one of the places. Then nothing has changed.
    pub fn apply(&self, network: &mut Network) -> Result<(), PresetError> {
        let mut sites: Vec<String> = network.endpoints().iter().map(|it| it.site.clone()).collect();
        sites.sort();
        sites.dedup();
        if let Some(site) = sites.iter().find(|site| !self.places.contains(&site.as_str())) {
            return Err(PresetError::UnknownPlace {
                preset: self.name,
                site: site.clone(),
                places: self.places.join(", "),
            });
        }
        for from in &sites {
            for to in &sites {
                let Some(round_trip_us) = self.round_trip_us(from, to) else { continue };
                let party = |site: &String| Party::Site(site.clone());
                network.update(&party(from), &party(to), |settings| {
                    Ok(LinkSettings { delay_us: round_trip_us / 2, ..settings.clone() })
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::model::{Endpoint, HostIndex};

    fn network(sites: &[&str]) -> Network {
        let endpoint = |(index, site): (usize, &&str)| Endpoint {
            name: format!("host-{index}"),
            site: (*site).to_owned(),
            addresses: format!("10.0.0.{index}").parse().unwrap(),
            host: HostIndex(index),
        };
        Network::new(sites.iter().enumerate().map(endpoint).collect(), 1).unwrap()
    }

    /// Every matrix is whole: a figure for each pair, the same both ways, none for a place and itself.
    #[test]
    fn matrices_are_whole() {
        for preset in PRESETS {
            for one in preset.places {
                assert_eq!(preset.round_trip_us(one, one), None, "{one}");
                for other in preset.places.iter().filter(|other| *other != one) {
                    let there = preset.round_trip_us(one, other);
                    assert!(there.is_some_and(|it| it > 1_000), "{one} {other}");
                    assert_eq!(there, preset.round_trip_us(other, one));
                }
            }
            assert!(
                preset.upper_triangle.iter().rev().map(|row| row.len()).eq(0..preset.places.len())
            );
        }
    }

    /// Figures as the sources print them.
    #[test]
    fn figures_are_those_of_the_sources() {
        let cases = [
            ("cities-2011", "paris", "milan", 21_610),
            ("cities-2011", "zurich", "dallas", 127_740),
            ("cities-2011", "moscow", "new-york", 131_290),
            ("regions-2017", "frankfurt", "ireland", 19_560),
            ("regions-2017", "sao-paulo", "n-virginia", 119_500),
            ("regions-2017", "tokyo", "sydney", 103_900),
        ];
        for (preset, one, other, round_trip_us) in cases {
            let preset = Preset::named(preset).unwrap();
            assert_eq!(preset.round_trip_us(one, other), Some(round_trip_us), "{one} {other}");
        }
    }

    /// Links between sites get half a round trip, those within a site stay; a strange site changes
    /// nothing.
    #[test]
    fn sites_get_their_delays() {
        let preset = Preset::named("cities-2011").unwrap();
        let mut good = network(&["paris", "milan", "paris"]);
        preset.apply(&mut good).unwrap();
        for (from, to, link) in good.links() {
            let expected = if from.site == to.site { 0 } else { 10_805 };
            assert_eq!(link.settings().delay_us, expected, "{} {}", from.name, to.name);
        }
        let mut strange = network(&["paris", "milan", "atlantis"]);
        assert!(preset.apply(&mut strange).unwrap_err().to_string().contains("atlantis"));
        assert!(strange.links().all(|(_, _, link)| *link.settings() == LinkSettings::default()));
        assert!(Preset::named("nowhere").is_err());
    }
}
