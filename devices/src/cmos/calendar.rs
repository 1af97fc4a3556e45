//! The civil calendar.

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// A moment in the proleptic Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTime {
    pub(super) year: u64,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to 31.
    pub(super) day: u8,
    /// 1 is Sunday.
    pub(super) weekday: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
}

impl DateTime {
    /// The moment `seconds` after the start of 1970.
    #[expect(clippy::cast_possible_truncation, reason = "parts of a date")]
    pub(super) fn from_unix(seconds: u64) -> Self {
        let (days, of_day) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
        // Years are counted from March 1 of year 0, so that the leap day is the last of its year: 719,468 days before 1970.
        // An era is the 400 years, or 146,097 days, after which leap years repeat.
        let since_march = days + 719_468;
        let (era, day_of_era) = (since_march / 146_097, since_march % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // From March on, months are 31, 30, 31, 30, 31 days long, and again: 153 days in five.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = 400 * era + year_of_era + u64::from(month <= 2);
        // January 1, 1970 was a Thursday.
        let weekday = (days + 4) % 7 + 1;
        Self {
            year,
            month: month as u8,
            day: day as u8,
            weekday: weekday as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_calendar_that_counts_days() {
        let (mut year, mut month, mut day, mut weekday) = (1970_u64, 1_u8, 1_u8, 5_u8);
        for days in 0..400 * 366 {
            let date = DateTime::from_unix(days * SECONDS_PER_DAY + 86_399);
            assert_eq!((date.year, date.month, date.day, date.weekday), (year, month, day, weekday), "day {days}");
            assert_eq!((date.hour, date.minute, date.second), (23, 59, 59));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u8::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            weekday = weekday % 7 + 1;
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
