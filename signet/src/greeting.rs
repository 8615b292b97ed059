//! The first screen of `signet up`: where the stack listens, how to log in, and what to try.

use std::{fmt, path::Path};

/// What there is to say about the first admin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Admin<'a> {
    /// Made at this start, with a password that nobody has seen yet.
    Made { email: &'a str, password: &'a str },
    /// Made at this start, with the password that the operator configured.
    MadeAsConfigured { email: &'a str },
    /// There was one before.
    Present,
    /// There is none, and the address that one was to have belongs to a user who is none.
    Missing,
    /// The configuration asks for none.
    NotAskedFor,
}

/// The first screen. It ends without a line break.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen<'a> {
    /// The origin.
    pub(crate) url: &'a str,
    pub(crate) admin: Admin<'a>,
    /// What became of the sample persons, if they were asked for.
    pub(crate) samples: Option<&'a str>,
    pub(crate) data_dir: &'a Path,
    /// Whether the databases are in the data directory, too.
    pub(crate) databases_there: bool,
}

impl fmt::Display for Screen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Signet listens on {}", self.url)?;
        match self.admin {
            Admin::Made { email, password } => {
                writeln!(f, "\n  admin     {email}\n  password  {password}   (shown this once)")?;
                self.log_in(f, email, password)?;
            }
            Admin::MadeAsConfigured { email } => {
                writeln!(f, "\n  admin     {email}\n  password  as configured (bootstrap.admin_password)")?;
                self.log_in(f, email, "PASSWORD")?;
            }
            Admin::Present => {
                writeln!(f, "\nThe admin was made before, and everything else is found again. For another admin:")?;
                self.make_admin(f)?;
            }
            Admin::Missing => {
                writeln!(f, "\nThere is no admin. To make one:")?;
                self.make_admin(f)?;
            }
            Admin::NotAskedFor => {}
        }
        if let Some(samples) = self.samples {
            writeln!(f, "\n{samples}")?;
        }
        let kept = if self.databases_there { "Databases and secrets" } else { "Secrets" };
        write!(f, "\n{kept} are kept in {}. Ctrl-C stops the stack.", self.data_dir.display())
    }
}

impl Screen<'_> {
    /// Three lines for bash; the first keeps the access token for the others.
    fn log_in(&self, f: &mut fmt::Formatter<'_>, email: &str, password: &str) -> fmt::Result {
        let url = self.url;
        let body = quoted(&serde_json::json!({ "email": email, "password": password }).to_string());
        let log_in = format!("curl -sS {url}/auth/login -H 'Content-Type: application/json' -d {body}");
        let find = r#"sed 's/.*"access_token":"\([^"]*\)".*/\1/'"#;
        let get = r#"curl -sSw '\n' -H "Authorization: Bearer $TOKEN""#;
        writeln!(f, "\nLog in, see who you are, read persons:\n")?;
        writeln!(f, "  TOKEN=$({log_in} | {find})")?;
        writeln!(f, "  {get} {url}/auth/me")?;
        writeln!(f, "  {get} '{url}/persons?limit=5'")
    }

    /// A line for whoever started the stack, who may make an admin without being one.
    fn make_admin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data_dir = quoted(&self.data_dir.to_string_lossy());
        writeln!(
            f,
            "\n  signet users create --email you@example.com --role admin --generate-password --data-dir {data_dir} \
             --url {}",
            self.url
        )
    }
}

/// As one word for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(admin: Admin<'_>, samples: Option<&str>) -> String {
        let data_dir = Path::new("data");
        Screen { url: "http://127.0.0.1:8080", admin, samples, data_dir, databases_there: true }.to_string()
    }

    #[test]
    fn a_new_admin_is_shown_with_the_password_and_three_lines_to_paste() {
        let screen = shown(Admin::Made { email: "admin@localhost", password: "abcde-12345" }, None);
        let lines: Vec<&str> = screen.lines().filter(|line| line.contains("curl")).map(str::trim).collect();
        assert_eq!(
            lines,
            [
                r#"TOKEN=$(curl -sS http://127.0.0.1:8080/auth/login -H 'Content-Type: application/json' -d '{"email":"admin@localhost","password":"abcde-12345"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')"#,
                r#"curl -sSw '\n' -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/auth/me"#,
                r#"curl -sSw '\n' -H "Authorization: Bearer $TOKEN" 'http://127.0.0.1:8080/persons?limit=5'"#,
            ]
        );
        assert!(screen.contains("password  abcde-12345"));
    }

    #[test]
    fn a_quote_in_an_address_is_one_word_for_the_shell() {
        let screen = shown(Admin::Made { email: "o'hara@localhost", password: "p" }, None);
        assert!(screen.contains(r#"-d '{"email":"o'\''hara@localhost","password":"p"}'"#), "{screen}");
    }

    #[test]
    fn a_later_start_shows_where_it_listens_and_no_password() {
        let screen = shown(Admin::Present, Some("40 sample persons were there already."));
        assert!(screen.contains("http://127.0.0.1:8080") && screen.contains("made before"));
        assert!(
            screen.contains("40 sample persons") && screen.contains("--data-dir 'data' --url http://127.0.0.1:8080")
        );
        assert!(!screen.contains("curl") && !screen.contains("password  "));
    }

    #[test]
    fn a_password_that_was_configured_is_not_shown() {
        let screen = shown(Admin::MadeAsConfigured { email: "ada@example.com" }, None);
        assert!(screen.contains("ada@example.com") && screen.contains("as configured"));
    }
}
