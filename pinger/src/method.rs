//! Which method a pair is probed by: the first that works, in the configured order, tried anew when it stops working.

use api::protocol::ProbeMethod;
use std::net::IpAddr;

/// So many losses in a row, without an answer ever or since, and the next method is tried.
const LOSSES_BEFORE_NEXT: u32 = 3;

/// Methods that an agent can use, best first: a machine may allow other ones for IPv6 than for IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    pub v4: Vec<ProbeMethod>,
    pub v6: Vec<ProbeMethod>,
}

impl Methods {
    /// Those for an address of this one's family.
    pub fn of(&self, address: IpAddr) -> &[ProbeMethod] {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

/// The method of one pair. Samples of different methods are never mixed in one window: a change restarts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodChoice {
    at: usize,
    losses: u32,
}

impl MethodChoice {
    pub fn first() -> MethodChoice {
        MethodChoice { at: 0, losses: 0 }
    }

    /// `methods`: those that this agent can use for the pair, best first. `None` where there is none.
    pub fn current(&self, methods: &[ProbeMethod]) -> Option<ProbeMethod> {
        methods.get(self.at % methods.len().max(1)).copied()
    }

    pub fn answered(&mut self) {
        self.losses = 0;
    }

    /// True when the pair moved on to another method. After the last one comes the first: a dead peer is tried by all in turn.
    pub fn lost(&mut self, methods: &[ProbeMethod]) -> bool {
        self.losses += 1;
        if self.losses < LOSSES_BEFORE_NEXT || methods.len() < 2 {
            return false;
        }
        self.losses = 0;
        self.at = (self.at + 1) % methods.len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: [ProbeMethod; 2] = [ProbeMethod::IcmpDatagram, ProbeMethod::Udp];

    fn check(events: &str, expected: ProbeMethod) {
        let mut choice = MethodChoice::first();
        for event in events.chars() {
            match event {
                'a' => choice.answered(),
                _ => _ = choice.lost(&METHODS),
            }
        }
        assert_eq!(choice.current(&METHODS), Some(expected), "{events}");
    }

    #[test]
    fn three_losses_in_a_row_try_the_next_method_and_answers_hold_it() {
        check("", ProbeMethod::IcmpDatagram);
        check("ll", ProbeMethod::IcmpDatagram);
        check("lll", ProbeMethod::Udp);
        check("llallal", ProbeMethod::IcmpDatagram);
        check("lllall", ProbeMethod::Udp);
        check("llllll", ProbeMethod::IcmpDatagram);
        assert_eq!(MethodChoice::first().current(&[]), None);
    }
}
