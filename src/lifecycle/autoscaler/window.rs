//! The observations of the last minute, by the second.

/// How many seconds are remembered.
pub(super) const SECONDS: u64 = 60;

/// More than this is taken as this, so that no sum overflows: no one has as many requests.
const MOST: f64 = u32::MAX as f64;

/// One bucket per second; an old one is taken over by the second that comes [`SECONDS`] later. A second counts as much as any
/// other however many observations it has.
#[derive(Debug, Clone)]
pub(super) struct Window {
    buckets: [Bucket; SECONDS as usize],
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: u64,
    sum: f64,
    /// None: the bucket was never used.
    count: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { buckets: [Bucket::default(); SECONDS as usize] }
    }
}

impl Window {
    /// Notes `value` in `second`.
    pub(super) fn add(&mut self, second: u64, value: f64) {
        if value.is_nan() {
            return;
        }
        let bucket = &mut self.buckets[(second % SECONDS) as usize];
        if bucket.second != second {
            *bucket = Bucket { second, ..Bucket::default() };
        }
        bucket.sum += value.clamp(0.0, MOST);
        bucket.count += 1;
    }

    /// The average of those of the last `seconds` seconds, `now` among them, that have observations; `None` where none has.
    pub(super) fn average(&self, now: u64, seconds: u64) -> Option<f64> {
        let mut sum = 0.0;
        let mut count = 0_u32;
        for bucket in &self.buckets {
            let is_recent = now.checked_sub(bucket.second).is_some_and(|age| age < seconds);
            if bucket.count > 0 && is_recent {
                sum += bucket.sum / bucket.count as f64;
                count += 1;
            }
        }
        (count > 0).then(|| sum / f64::from(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(observations: &[(u64, f64)]) -> Window {
        let mut window = Window::default();
        for (second, value) in observations {
            window.add(*second, *value);
        }
        window
    }

    #[test]
    fn without_observations_there_is_no_average() {
        assert_eq!(Window::default().average(0, 60), None);
        assert_eq!(window(&[(0, 5.0)]).average(60, 60), None);
        assert_eq!(window(&[(7, f64::NAN)]).average(7, 60), None);
    }

    #[test]
    fn a_window_that_is_not_full_averages_over_what_there_is() {
        let window = window(&[(100, 10.0), (101, 20.0), (102, 60.0)]);
        assert_eq!(window.average(102, 60), Some(30.0));
        assert_eq!(window.average(102, 2), Some(40.0));
    }

    #[test]
    fn a_second_with_many_observations_counts_once() {
        assert_eq!(window(&[(0, 4.0), (0, 6.0), (0, 8.0), (1, 10.0)]).average(1, 60), Some(8.0));
    }

    #[test]
    fn seconds_without_observations_do_not_count_as_zero() {
        assert_eq!(window(&[(0, 10.0), (5, 20.0)]).average(9, 60), Some(15.0));
    }

    #[test]
    fn a_second_leaves_the_window_when_it_is_as_old_as_the_window() {
        let window = window(&[(0, 10.0), (1, 20.0)]);
        assert_eq!(window.average(59, 60), Some(15.0));
        assert_eq!(window.average(60, 60), Some(20.0));
        assert_eq!(window.average(6, 6), Some(20.0));
    }

    #[test]
    fn a_bucket_is_taken_over_a_minute_later() {
        let window = window(&[(3, 10.0), (63, 50.0)]);
        assert_eq!(window.average(63, 60), Some(50.0));
    }

    #[test]
    fn absurd_values_are_bounded() {
        assert_eq!(window(&[(0, f64::INFINITY), (0, f64::MAX)]).average(0, 60), Some(MOST));
        assert_eq!(window(&[(0, f64::NEG_INFINITY), (0, -3.0)]).average(0, 60), Some(0.0));
        assert_eq!(window(&[(u64::MAX, 3.0)]).average(u64::MAX, 60), Some(3.0));
    }
}
