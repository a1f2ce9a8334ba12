//! RTTs in 16 bits, rounded **up**.
//!
//! A graduated scale rather than a smooth logarithm, so that the values people write are *on* it:
//!
//! | from | step | codes | worst relative error |
//! |---|---|---|---|
//! | 0 | 1 us | 16,000 | exact |
//! | 16 ms | 5 us | 12,800 | 5 us / 16 ms = 0.031 % |
//! | 80 ms | 20 us | 12,000 | 20 us / 80 ms = 0.025 % |
//! | 320 ms | 100 us | 12,800 | 100 us / 320 ms = 0.031 % |
//! | 1.6 s | 1 ms | 6,400 | 1 ms / 1.6 s = 0.063 % |
//! | 8 s to 60 s | 10 ms | 5,201 | 10 ms / 8 s = 0.125 % |
//!
//! 65,201 codes of 65,536. Rounding up to a grid never crosses a point of the grid: a bound that is a multiple of the
//! step (every multiple of 0.1 ms up to 1.6 s, every whole ms up to 8 s) judges a code exactly as it would judge the figure
//! itself, and 25.000 ms meets a bound of 25 ms. Any other bound can only reject by rounding, never admit.
//!
//! Exact `u32`s were the alternative: twice the memory of what every scan walks, for figures that no network repeats.

use crate::units::Micros;

/// First value in microseconds, step in microseconds, first code.
const BANDS: [(u32, u32, u16); 6] =
    [(0, 1, 0), (16_000, 5, 16_000), (80_000, 20, 28_800), (320_000, 100, 40_800), (1_600_000, 1_000, 53_600), (8_000_000, 10_000, 60_000)];

/// The longest RTT on the scale, 60 s; what is longer reads as [`Micros::MAX`] and meets no bound.
const LONGEST_US: u32 = 60_000_000;
const LAST: u16 = 65_200;

/// An RTT on the scale above. Order is the order of the RTTs; `UNMEASURED` is above all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RttCode(pub u16);

impl RttCode {
    pub const ZERO: RttCode = RttCode(0);
    pub const TOO_LONG: RttCode = RttCode(u16::MAX - 1);
    pub const UNMEASURED: RttCode = RttCode(u16::MAX);

    /// The lowest code that is not below the RTT.
    pub fn ceil(rtt: Micros) -> RttCode {
        if rtt.0 > LONGEST_US {
            return RttCode::TOO_LONG;
        }
        let (start, step, first) = band(|(start, _, _)| start <= rtt.0);
        RttCode(first + (rtt.0 - start).div_ceil(step) as u16)
    }

    /// The highest code that is not above the bound: an RTT meets the bound if its code is not above this one.
    pub fn floor(bound: Micros) -> RttCode {
        if bound.0 > LONGEST_US {
            return if bound == Micros::MAX { RttCode::TOO_LONG } else { RttCode(LAST) };
        }
        let (start, step, first) = band(|(start, _, _)| start <= bound.0);
        RttCode(first + ((bound.0 - start) / step) as u16)
    }

    /// `None` when unmeasured.
    pub fn decode(self) -> Option<Micros> {
        match self {
            RttCode::UNMEASURED => None,
            RttCode(code) if code > LAST => Some(Micros::MAX),
            RttCode(code) => {
                let (start, step, first) = band(|(_, _, first)| first <= code);
                Some(Micros(start + u32::from(code - first) * step))
            }
        }
    }
}

fn band(starts_below: impl Fn((u32, u32, u16)) -> bool) -> (u32, u32, u16) {
    BANDS.into_iter().rev().find(|&band| starts_below(band)).unwrap_or(BANDS[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(rtt_us: u32, stored_us: u32) {
        assert_eq!(RttCode::ceil(Micros(rtt_us)).decode(), Some(Micros(stored_us)), "{rtt_us} us");
    }

    #[test]
    fn what_people_write_is_kept_exactly_and_the_rest_rounds_up() {
        check(0, 0);
        check(1, 1);
        check(40, 40);
        check(25_000, 25_000);
        check(31_200, 31_200);
        check(31_201, 31_205);
        check(79_999, 80_000);
        check(319_999, 320_000);
        check(1_599_901, 1_600_000);
        check(60_000_000, 60_000_000);
        check(60_000_001, u32::MAX);
    }

    #[test]
    fn every_code_reads_back_as_itself_and_codes_rise_with_the_rtt() {
        let mut before = None;
        for code in 0..=LAST {
            let rtt = RttCode(code).decode().unwrap();
            assert_eq!((RttCode::ceil(rtt), RttCode::floor(rtt)), (RttCode(code), RttCode(code)));
            assert!(before < Some(rtt), "code {code}");
            before = Some(rtt);
        }
    }

    proptest! {
        #[test]
        fn rounding_never_admits_and_is_within_an_eighth_of_a_percent(rtt in 0..=LONGEST_US, bound in 0..=LONGEST_US) {
            let stored = RttCode::ceil(Micros(rtt)).decode().unwrap().0;
            prop_assert!(stored >= rtt && f64::from(stored - rtt) <= f64::from(rtt) * 0.00125);
            if RttCode::ceil(Micros(rtt)) <= RttCode::floor(Micros(bound)) {
                prop_assert!(rtt <= bound);
            }
        }

        #[test]
        fn a_bound_on_the_grid_judges_exactly(rtt in 0..2_000_000u32, tenths in 0..16_000u32) {
            let bound = tenths * 100;
            prop_assert_eq!(RttCode::ceil(Micros(rtt)) <= RttCode::floor(Micros(bound)), rtt <= bound);
        }
    }
}
