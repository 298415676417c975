//! The rule book: what is built in, what the file says, and what the form saved over it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use highwater_alerts::{
    Maintenance, Origin, Rule, RuleError, RuleFile, RuleSet, RuleSpec, default_rules,
};

/// Rules that a form may save.
const MOST_OF_THE_FORM: usize = 1_000;

/// What can be wrong with rules.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The file cannot be read.
    #[error("cannot read the rules of {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key that no rule has.
    #[error("{path} is not valid:\n{message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A rule of the form cannot be understood.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// There is no such rule, or it is no rule of the form.
    #[error("{0}")]
    Missing(String),
    /// Too many.
    #[error(
        "a form keeps {MOST_OF_THE_FORM} rules at most; more of them belong into a file (--rules)"
    )]
    TooMany,
}

/// Rules by where they come from.
#[derive(Debug, Default)]
pub struct Book {
    path: Option<PathBuf>,
    /// The file as it was last read.
    modified: Option<SystemTime>,
    file: RuleFile,
    /// Why the file as it is now is not what counts.
    file_problem: Option<String>,
    form: Vec<RuleSpec>,
    problems: Vec<String>,
}

impl Book {
    /// A book of the built-in rules, a file's where there is one, and what the form saved before.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML of rules. One bad rule in it is a problem that is listed.
    pub(crate) fn open(path: Option<PathBuf>, form: Vec<RuleSpec>) -> Result<Self, BookError> {
        let mut book = Self {
            path,
            form,
            ..Self::default()
        };
        if let Some(path) = &book.path {
            (book.file, book.modified) = read(path)?;
        }
        Ok(book)
    }

    /// The rules that count, and the maintenance windows. Notes what cannot be read.
    pub(crate) fn assemble(&mut self) -> (Vec<Rule>, Vec<Maintenance>) {
        let set = RuleSet::assemble(default_rules(), self.file.rule.clone(), self.form.clone());
        let mut problems: Vec<String> = set.errors.iter().map(ToString::to_string).collect();
        let mut maintenance = Vec::new();
        for spec in &self.file.maintenance {
            match Maintenance::from_spec(spec.clone()) {
                Ok(window) => maintenance.push(window),
                Err(error) => problems.push(error.to_string()),
            }
        }
        for problem in problems.iter().filter(|one| !self.problems.contains(*one)) {
            tracing::warn!(problem, "an alert rule is left out");
        }
        self.problems = problems;
        (set.rules, maintenance)
    }

    /// Reads the file again if it was written to. What cannot be read leaves the rules as they were.
    /// Says whether they have to be assembled anew.
    pub(crate) fn reread(&mut self) -> bool {
        let Some(path) = &self.path else {
            return false;
        };
        let modified = std::fs::metadata(path).and_then(|facts| facts.modified());
        if modified.as_ref().ok() == self.modified.as_ref() {
            return false;
        }
        match read(path) {
            Ok((file, modified)) => {
                tracing::info!(path = %path.display(), rules = file.rule.len(), "the rules were read again");
                (self.file, self.modified, self.file_problem) = (file, modified, None);
                true
            }
            Err(error) => {
                let problem = format!("The rules are those of before: {error}");
                if self.file_problem.as_ref() != Some(&problem) {
                    tracing::warn!(problem);
                }
                self.file_problem = Some(problem);
                false
            }
        }
    }

    /// Everything that cannot be read, in sentences.
    pub(crate) fn problems(&self) -> Vec<String> {
        let file = self.file_problem.iter();
        file.chain(&self.problems).cloned().collect()
    }

    /// The file.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The form's rules, to be kept.
    pub(crate) fn form(&self) -> &[RuleSpec] {
        &self.form
    }

    /// Saves a rule of the form: one of its id is replaced, and covered where it is the file's.
    pub(crate) fn save(&mut self, spec: RuleSpec) -> Result<(), BookError> {
        Rule::from_spec(spec.clone())?;
        match self.form.iter().position(|known| known.id == spec.id) {
            Some(at) => self.form[at] = spec,
            None if self.form.len() >= MOST_OF_THE_FORM => return Err(BookError::TooMany),
            None => self.form.push(spec),
        }
        Ok(())
    }

    /// Removes a rule of the form.
    pub(crate) fn remove(&mut self, id: &str, known: &[Rule]) -> Result<(), BookError> {
        let before = self.form.len();
        self.form.retain(|spec| spec.id != id);
        if self.form.len() < before {
            return Ok(());
        }
        let origin = known.iter().find(|rule| *rule.id == *id);
        Err(BookError::Missing(match origin.map(|rule| rule.origin) {
            Some(Origin::File) => format!(
                "{id} stands in {}: remove it there, or turn it off here.",
                self.path().map_or("the file".into(), Path::to_string_lossy)
            ),
            Some(_) => format!("{id} is built in: turn it off instead."),
            None => format!("There is no rule {id}."),
        }))
    }
}

fn read(path: &Path) -> Result<(RuleFile, Option<SystemTime>), BookError> {
    let failed = |source| BookError::Read {
        path: path.to_owned(),
        source,
    };
    let modified = std::fs::metadata(path).map_err(failed)?.modified().ok();
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let file = toml::from_str(&text).map_err(|error| BookError::Parse {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    Ok((file, modified))
}
