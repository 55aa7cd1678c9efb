//! Labels: where a node stands, as in `zone=a`.

/// No label is longer.
const LABEL_BYTES_MAX: usize = 128;

/// What is wrong with a label, if anything is.
pub fn check(label: &str) -> Result<(), String> {
    let plain = |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
        !text.is_empty() && text.chars().all(allowed)
    };
    match label.split_once('=') {
        Some((name, value)) if plain(name) && plain(value) && label.len() <= LABEL_BYTES_MAX => {
            Ok(())
        }
        _ => Err(format!(
            "'{label}' is no label; one is NAME=VALUE, such as zone=a, of letters, digits and - _ . / :, of at most \
             {LABEL_BYTES_MAX} bytes"
        )),
    }
}

/// Names and values of labels.
pub fn pairs(labels: &[String]) -> Vec<(String, String)> {
    let pair = |label: &String| {
        let (name, value) = label.split_once('=')?;
        Some((name.to_string(), value.to_string()))
    };
    labels.iter().filter_map(pair).collect()
}

/// Names and values of labels in one line, as in `zone=a,rack=1`.
pub fn parse(line: &str) -> Vec<(String, String)> {
    let labels: Vec<String> = line.split(',').map(str::to_string).collect();
    pairs(&labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_and_values() {
        for good in ["zone=a", "rack=r-1.2/3:4", "z_1=A"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = format!("zone={}", "a".repeat(LABEL_BYTES_MAX));
        for bad in [
            "", "zone", "zone=", "=a", "zone=a,b", "zone=a b", "a=b=c", "zone=\n", &long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let line = parse("zone=a,rack=1");
        assert_eq!(line, pairs(&["zone=a".into(), "rack=1".into()]));
        assert_eq!(line[1], ("rack".into(), "1".into()));
        assert!(parse("").is_empty());
    }
}
