//! Columns as Docker aligns them: at least ten wide, three apart, nothing after the last.

/// Lays out rows of cells. Each row ends with the end of a line.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter(|row| column + 1 < row.len())
            .map(|row| row[column].chars().count() + 3)
            .max()
            .unwrap_or(0)
            .max(10)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let gap = widths[column].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', gap));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows =
            [["A", "LONG HEADER", "C"], ["a much longer cell", "b", "c"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            align(&rows),
            "A                    LONG HEADER   C\na much longer cell   b             c\n"
        );
    }

    #[test]
    fn a_narrow_column_is_ten_wide() {
        let rows = [vec!["A".to_owned(), "B".to_owned()]];
        assert_eq!(align(&rows), "A         B\n");
        assert_eq!(align(&[]), "");
    }
}
