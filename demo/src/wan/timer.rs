//! A timer with nanoseconds instead of tokio's milliseconds: a heap of deadlines in front of one timerfd.
//!
//! It lives on one thread, with whatever waits on it.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What happens at a deadline.
pub(super) enum Due<T> {
    Wake(Waker),
    Item(T),
}

pub(super) struct Timer<T> {
    fd: AsyncFd<OwnedFd>,
    heap: RefCell<BinaryHeap<Reverse<Entry<T>>>>,
    sequence: Cell<u64>,
    /// When the timerfd goes off.
    armed: Cell<Option<Instant>>,
    /// How much earlier than the deadline the timerfd goes off, in nanoseconds: the median of what waking up takes here (50 us on
    /// an idle virtual machine). The rest is spun away, so that only half of the wake-ups are late, and by their spread alone.
    lead_ns: Cell<u64>,
}

/// A step of the median's tracking; a thousandth of a millisecond per wake-up.
const LEAD_STEP_NS: u64 = 1_000;
/// Bounds what is spun away per wake-up.
const LEAD_MOST_NS: u64 = 80_000;

struct Entry<T> {
    deadline: Instant,
    /// Equal deadlines keep the order they came in.
    sequence: u64,
    due: Due<T>,
}

impl<T> Timer<T> {
    /// Needs a tokio runtime around it.
    pub fn new() -> io::Result<Timer<T>> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(deprecated, reason = "its replacement is unsafe for types whose descriptor may change; an OwnedFd's cannot")]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Timer { fd, heap: RefCell::default(), sequence: Cell::new(0), armed: Cell::new(None), lead_ns: Cell::new(0) })
    }

    /// Hands `item` to [`Timer::run`]'s `deliver` at the deadline, never before.
    pub fn push(&self, deadline: Instant, item: T) -> io::Result<()> {
        self.insert(deadline, Due::Item(item))
    }

    /// Returns at the deadline, never before.
    pub async fn sleep_until(&self, deadline: Instant) -> io::Result<()> {
        poll_fn(|context| {
            if Instant::now() >= deadline {
                return Poll::Ready(Ok(()));
            }
            // A poll for another reason leaves an old entry behind, whose wake is harmless.
            match self.insert(deadline, Due::Wake(context.waker().clone())) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Serves deadlines for ever; the one task that makes the others move. `deliver` gets each item with its lateness.
    pub async fn run(&self, mut deliver: impl FnMut(T, Duration)) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut expirations = [0u8; 8];
            match rustix::io::read(self.fd.get_ref(), &mut expirations) {
                Ok(_) | Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
            self.learn_lead();
            loop {
                let now = self.spin_to_first();
                // The borrow ends here: a delivery may push.
                let Some(entry) = self.pop_due(now) else {
                    break;
                };
                match entry.due {
                    Due::Wake(waker) => waker.wake(),
                    Due::Item(item) => deliver(item, now - entry.deadline),
                }
            }
            let next = self.heap.borrow().peek().map(|Reverse(entry)| entry.deadline);
            if let Some(next) = next {
                self.arm(next)?;
            }
        }
    }

    fn learn_lead(&self) {
        if let Some(armed) = self.armed.take() {
            let lead_ns = self.lead_ns.get();
            let next_ns =
                if armed.elapsed() > Duration::from_nanos(lead_ns) { lead_ns + LEAD_STEP_NS } else { lead_ns.saturating_sub(LEAD_STEP_NS) };
            self.lead_ns.set(next_ns.min(LEAD_MOST_NS));
        }
    }

    /// The time now, or, where the first deadline is within the lead, as soon as it has come.
    fn spin_to_first(&self) -> Instant {
        let mut now = Instant::now();
        let first = self.heap.borrow().peek().map(|Reverse(entry)| entry.deadline);
        if let Some(first) = first
            && first.saturating_duration_since(now) <= Duration::from_nanos(self.lead_ns.get())
        {
            while now < first {
                std::hint::spin_loop();
                now = Instant::now();
            }
        }
        now
    }

    fn insert(&self, deadline: Instant, due: Due<T>) -> io::Result<()> {
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        let mut heap = self.heap.borrow_mut();
        let is_first = heap.peek().is_none_or(|Reverse(first)| deadline < first.deadline);
        heap.push(Reverse(Entry { deadline, sequence, due }));
        drop(heap);
        if is_first { self.arm(deadline) } else { Ok(()) }
    }

    fn pop_due(&self, now: Instant) -> Option<Entry<T>> {
        let mut heap = self.heap.borrow_mut();
        if heap.peek().is_some_and(|Reverse(first)| first.deadline <= now) { heap.pop().map(|Reverse(entry)| entry) } else { None }
    }

    fn arm(&self, deadline: Instant) -> io::Result<()> {
        let now = Instant::now();
        let lead = Duration::from_nanos(self.lead_ns.get());
        // Zero would disarm the timer.
        let left = (deadline.saturating_duration_since(now)).saturating_sub(lead).max(Duration::from_nanos(1));
        self.armed.set(Some(now + left));
        let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.deadline, self.sequence).cmp(&(other.deadline, other.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_come_in_order_and_never_early() {
        let timer = Timer::new().unwrap();
        let start = Instant::now();
        let offsets_us = [900, 100, 300, 0, 300, 50_000];
        for (index, offset_us) in offsets_us.into_iter().enumerate() {
            timer.push(start + Duration::from_micros(offset_us), index).unwrap();
        }
        let delivered = RefCell::new(Vec::new());
        let serve = timer.run(|index, lateness| {
            assert!(start.elapsed() >= Duration::from_micros(offsets_us[index]) + lateness);
            delivered.borrow_mut().push(index);
        });
        let wait = async {
            timer.sleep_until(start + Duration::from_micros(700)).await.unwrap();
            assert!(start.elapsed() >= Duration::from_micros(700));
            while delivered.borrow().len() < 5 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = serve => result.unwrap(),
            waited = tokio::time::timeout(Duration::from_secs(10), wait) => waited.expect("nothing happened within the bound"),
        }
        let delivered = delivered.into_inner();
        assert!([3, 1, 2, 4, 0, 5].starts_with(&delivered), "{delivered:?}");
    }
}
