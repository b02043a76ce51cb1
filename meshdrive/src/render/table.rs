//! Plain columns, two spaces apart; the last column is not padded.

use super::{data, text};
use crate::failure::Outcome;
use protocol::control::{FileReport, FileState};

/// Prints rows under `head`, each column as wide as its widest cell.
pub(crate) fn print<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Outcome {
    for line in lines(head, rows) {
        data(line)?;
    }
    Ok(())
}

fn lines<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; N]| {
        let mut text = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.trim_end().to_string()
    };
    std::iter::once(line(&head.map(str::to_string))).chain(rows.iter().map(line)).collect()
}

/// Files with their state and size.
pub(crate) fn files(files: &[FileReport]) -> Outcome {
    let row = |file: &FileReport| {
        let size = if file.dir { "-".into() } else { text::size(file.size) };
        [state(file), size, name(file)]
    };
    print(["STATE", "SIZE", "PATH"], &files.iter().map(row).collect::<Vec<_>>())
}

fn name(file: &FileReport) -> String {
    let slash = if file.dir { "/" } else { "" };
    format!("{}{slash}", text::path(&file.path))
}

/// The state in words.
pub(crate) fn state(file: &FileReport) -> String {
    let word = match file.state {
        FileState::Cloud => "cloud",
        FileState::Partial => return partial(file),
        FileState::Local => "local",
        FileState::Pinned => "pinned",
        FileState::Pending => "pending",
        FileState::LocalOnly => "local only",
        FileState::Uploading => "uploading",
        FileState::Attention => {
            return format!("attention: {}", file.attention.as_deref().unwrap_or("unknown"));
        }
    };
    if file.pinned && file.state != FileState::Pinned {
        format!("{word}, pinned")
    } else {
        word.into()
    }
}

fn partial(file: &FileReport) -> String {
    let here = file.here_bytes.unwrap_or_default();
    let percent = u128::from(here) * 100 / u128::from(file.size.max(1));
    let pinned = if file.pinned { ", pinned" } else { "" };
    format!("partial {percent} %{pinned}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::control::PathText;

    fn file(state: FileState) -> FileReport {
        FileReport {
            path: PathText::Text("a".into()),
            size: 200,
            dir: false,
            state,
            here_bytes: Some(50),
            attention: Some("name not allowed".into()),
            pinned: false,
        }
    }

    #[test]
    fn states_in_words() {
        assert_eq!(state(&file(FileState::Partial)), "partial 25 %");
        assert_eq!(state(&file(FileState::Local)), "local");
        assert_eq!(state(&file(FileState::Attention)), "attention: name not allowed");
        let pinned = FileReport { pinned: true, ..file(FileState::Cloud) };
        assert_eq!(state(&pinned), "cloud, pinned");
        assert_eq!(state(&FileReport { pinned: true, ..file(FileState::Pinned) }), "pinned");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["ü".into(), "b".into()], ["long".into(), "c".into()]];
        assert_eq!(lines(["A", "B"], &rows), ["A     B", "ü     b", "long  c"]);
    }
}
