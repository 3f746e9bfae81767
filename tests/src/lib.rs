//! Nothing but tests is here: `tests/house` checks the repository itself, `tests/live` runs real
//! clusters. The phone that judges them is the package `tandem-phone` beside this one.
