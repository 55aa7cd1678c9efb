//! Whole numbers on the command line, and what is said of what is none.

/// A parser for clap: a whole number within these bounds.
pub(super) fn whole<T: TryFrom<i128>, const LEAST: i128, const MOST: i128>(
    text: &str,
) -> Result<T, String> {
    let wanted = || match MOST == i128::from(u64::MAX) {
        true => format!("a whole number from {LEAST} on is wanted"),
        false => format!("a whole number from {LEAST} to {MOST} is wanted"),
    };
    let number = text.parse::<i128>().map_err(|_| wanted())?;
    if !(LEAST..=MOST).contains(&number) {
        return Err(wanted());
    }
    T::try_from(number).map_err(|_| wanted())
}

/// A parser for clap: one core of a list.
pub(super) fn core(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "cores are wanted by their numbers, as in 0,2,3".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_or_out_of_bounds_is_told_what_is_wanted() {
        assert_eq!(whole::<u64, 1, 10>("10"), Ok(10));
        assert_eq!(whole::<i64, -5, 5>("-5"), Ok(-5));
        for text in [
            "",
            "0",
            "11",
            "-1",
            "1.5",
            "3s",
            "1e1",
            "99999999999999999999999999999999999999999",
        ] {
            let refused = whole::<u64, 1, 10>(text).expect_err(text);
            assert_eq!(refused, "a whole number from 1 to 10 is wanted");
        }
        const MOST: i128 = u64::MAX as i128;
        let refused = whole::<u64, 1, MOST>("x").expect_err("no number");
        assert_eq!(refused, "a whole number from 1 on is wanted");
        assert_eq!(whole::<u64, 1, MOST>("18446744073709551615"), Ok(u64::MAX));
        assert!(core("0-3").is_err_and(|why| why.contains("0,2,3")));
    }
}
