//! A page with sections between markers: `<!-- figures: NAME -->` and `<!-- end of NAME -->`.

use anyhow::{Context, Result};

/// `page` with `text` in the section `name` in place of what was there.
pub fn with_section(page: &str, name: &str, text: &str) -> Result<String> {
    let (start, end) = (format!("<!-- figures: {name} -->"), format!("<!-- end of {name} -->"));
    let (before, rest) = page.split_once(&start).with_context(|| format!("the page has no marker `{start}`"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the page has no marker `{end}` after `{start}`"))?;
    Ok(format!("{before}{start}\n{text}\n{end}{after}"))
}

/// The name of the processor in the text of /proc/cpuinfo.
pub fn processor(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_is_kept() {
        let page = "before\n<!-- figures: a -->\nold\n<!-- end of a -->\nbetween\n<!-- figures: b -->\n<!-- end of b -->\nafter\n";
        let once = with_section(page, "a", "new").unwrap();
        assert_eq!(once, page.replace("old", "new"));
        assert_eq!(with_section(&once, "a", "new").unwrap(), once);
        assert!(
            with_section(page, "b", "table")
                .unwrap()
                .contains("old\n<!-- end of a -->\nbetween\n<!-- figures: b -->\ntable\n<!-- end of b")
        );
        assert!(with_section(page, "c", "").is_err());
        assert!(with_section("<!-- end of a -->\n<!-- figures: a -->\n", "a", "").is_err());
    }

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n"), Some("A CPU @ 2 GHz"));
        assert_eq!(processor("processor\t: 0\n"), None);
    }
}
