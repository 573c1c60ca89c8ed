//! The engine: a heap ordered by (time, sequence). The sequence breaks ties the same way every time.

use std::{cmp::Reverse, collections::BinaryHeap};

/// What is going to happen. The heap holds small keys; the events lie still in slots that are used again.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts `event` at `time`, in milliseconds, behind everything that is already there for it.
    pub(crate) fn push(&mut self, time: u64, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.slots[slot as usize] = Some(event);
        self.sequence += 1;
        self.heap.push(Reverse((time, self.sequence, slot)));
    }

    /// When the next event is due.
    pub(crate) fn due(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((time, ..))| *time)
    }

    /// When the first event comes that is `wanted`.
    pub(crate) fn first(&self, wanted: impl Fn(&E) -> bool) -> Option<u64> {
        let wanted = |slot: u32| self.slots[slot as usize].as_ref().is_some_and(&wanted);
        self.heap.iter().filter(|Reverse((_, _, slot))| wanted(*slot)).map(|Reverse((time, ..))| *time).min()
    }

    /// Puts every event that is `moved` off by so many milliseconds. Those of one time keep their order.
    pub(crate) fn put_off(&mut self, by: u64, moved: impl Fn(&E) -> bool) {
        let heap = std::mem::take(&mut self.heap).into_vec();
        let moved = |slot: u32| self.slots[slot as usize].as_ref().is_some_and(&moved);
        let later = heap.into_iter().map(|Reverse((time, sequence, slot))| {
            Reverse((if moved(slot) { time + by } else { time }, sequence, slot))
        });
        self.heap = later.collect();
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        loop {
            let Reverse((time, _, slot)) = self.heap.pop()?;
            self.free.push(slot);
            if let Some(event) = self.slots[slot as usize].take() {
                return Some((time, event));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_put() {
        let mut queue = Queue::default();
        for (time, name) in [(5, "c"), (1, "a"), (5, "d"), (1, "b")] {
            queue.push(time, name);
        }
        assert_eq!(queue.pop(), Some((1, "a")));
        queue.push(5, "e");
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(rest, ["b", "c", "d", "e"]);
        assert!(queue.slots.len() <= 4, "slots are used again");
    }

    #[test]
    fn what_is_put_off_comes_later_and_in_order() {
        let mut queue = Queue::default();
        for (time, name) in [(1, "a"), (2, "fixed"), (1, "b"), (3, "c")] {
            queue.push(time, name);
        }
        assert_eq!(queue.first(|name| *name == "fixed"), Some(2));
        queue.put_off(10, |name| *name != "fixed");
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [(2, "fixed"), (11, "a"), (11, "b"), (13, "c")]);
    }
}
