//! Who asks too often has to wait.

use crate::{config::Rates, ids::Id, problem::Problem};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock, clock::DefaultClock};
use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Keys that the limiters remember before they forget the quiet ones.
const DEVICES_REMEMBERED: usize = 10_000;
const ADDRESSES_REMEMBERED: usize = 10_000;
const WINDOW: Duration = Duration::from_secs(60);

/// Requests of devices.
#[derive(Debug)]
pub(crate) struct RequestRate {
    limiter: DefaultKeyedRateLimiter<Id>,
}

impl RequestRate {
    pub(crate) fn new(rates: &Rates) -> RequestRate {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(rates.requests_per_second))
            .allow_burst(at_least_one(rates.request_burst));
        RequestRate { limiter: RateLimiter::keyed(quota) }
    }

    pub(crate) fn check(&self, device: &Id) -> Result<(), Problem> {
        if self.limiter.len() > DEVICES_REMEMBERED {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(device).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Problem::too_often("this device asks more often than the store allows", wait)
        })
    }
}

/// Wrong setup and join codes by address. A try is taken before the code is looked at, and given
/// back when it was right, so that many at once do not slip through.
#[derive(Debug)]
pub(crate) struct CodeTries {
    per_window: u32,
    tries: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl CodeTries {
    pub(crate) fn new(rates: &Rates) -> CodeTries {
        CodeTries { per_window: rates.wrong_codes_per_minute.max(1), tries: Mutex::default() }
    }

    pub(crate) fn take(&self, peer: IpAddr) -> Result<(), Problem> {
        let now = Instant::now();
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= ADDRESSES_REMEMBERED {
            tries.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
        }
        if tries.len() >= ADDRESSES_REMEMBERED {
            return Err(Problem::busy("too many addresses try codes right now", WINDOW));
        }
        let (since, count) = tries.entry(network(peer)).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        if *count >= self.per_window {
            let wait = WINDOW.saturating_sub(now.duration_since(*since));
            return Err(Problem::too_often("too many wrong codes from this address", wait));
        }
        *count += 1;
        Ok(())
    }

    pub(crate) fn give_back(&self, peer: IpAddr) {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = tries.get_mut(&network(peer)) {
            *count = count.saturating_sub(1);
        }
    }
}

/// One household has one IPv4 address, or one IPv6 network of 64 bits.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => {
                let mask = !0_u128 << 64;
                IpAddr::V6((u128::from_be_bytes(six.octets()) & mask).to_be_bytes().into())
            }
        },
    }
}
