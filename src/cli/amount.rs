//! Numbers for a person: short, and as exact as one can take in at a glance.

/// So many bytes.
pub(super) fn bytes(bytes: u64) -> String {
    short(bytes, 1024, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// So many of anything.
pub(super) fn count(count: u64) -> String {
    short(count, 1000, &["", "k", "M", "G", "T", "P"])
}

fn short(number: u64, step: u64, units: &[&str]) -> String {
    let (mut scaled, mut rest, mut unit) = (number, 0, 0);
    // Four digits are read as easily as three and a point.
    while scaled >= 10_000.max(step) && unit + 1 < units.len() || scaled >= step && step == 1024 {
        (scaled, rest, unit) = (scaled / step, scaled % step, unit + 1);
    }
    let tenth = match unit > 0 && scaled < 10 {
        true => format!(".{}", rest * 10 / step),
        false => String::new(),
    };
    format!("{scaled}{tenth} {}", units[unit]).trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (number, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 20, "10 MiB"),
            (1300 << 20, "1.2 GiB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
        for (number, expected) in [
            (0, "0"),
            (9999, "9999"),
            (12_345, "12 k"),
            (1_234_567, "1234 k"),
            (12_345_678, "12 M"),
        ] {
            assert_eq!(count(number), expected);
        }
    }
}
