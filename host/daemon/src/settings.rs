//! Which config is in force, and what happens when its files change or another is named.

use std::path::{Path, PathBuf};

use longshore_engine::{Config, Engine};
use tokio::sync::Mutex;

use crate::args::Mode;
use crate::reply::Refusal;

/// The config files of one engine.
#[derive(Debug)]
pub(crate) struct Settings {
    standard: Vec<PathBuf>,
    mode: Mode,
    /// The record of the command line, which the files do not change.
    record: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    explicit: Option<PathBuf>,
    /// Why changed files are not in force.
    problem: Option<String>,
}

/// The system's file, and the user's where an engine is a user's and not the system's.
fn standard(mode: Mode) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/longshore/longshore.toml")];
    if mode != Mode::System {
        let folder = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        files.extend(config.map(|config| config.join("longshore/longshore.toml")));
    }
    files
}

impl Settings {
    /// Reads the files for the first time.
    pub(crate) fn read(
        mode: Mode,
        explicit: Option<&Path>,
        record: Option<&Path>,
    ) -> longshore_engine::Result<(Self, Config)> {
        let absolute = |path: Option<&Path>, what: &str| {
            path.map(std::path::absolute)
                .transpose()
                .map_err(|error| longshore_engine::Error::io(format!("find the folder of {what}"), &error))
        };
        let explicit = absolute(explicit, "--config")?;
        let record = absolute(record, "--record")?;
        let standard = standard(mode);
        let mut config = Config::load(&standard, explicit.as_deref())?;
        config.record = record.clone().or(config.record);
        let settings = Self {
            standard,
            mode,
            record,
            state: Mutex::new(State {
                explicit,
                problem: None,
            }),
        };
        Ok((settings, config))
    }

    /// Reads the files again and puts them in force, whole or not at all.
    pub(crate) async fn reload(&self, engine: &Engine) -> longshore_engine::Result<()> {
        let mut state = self.state.lock().await;
        self.load(engine, &mut state).await
    }

    async fn load(&self, engine: &Engine, state: &mut State) -> longshore_engine::Result<()> {
        let mut config = Config::load(&self.standard, state.explicit.as_deref())?;
        config.record = self.record.clone().or(config.record);
        engine.reload(config).await?;
        state.problem = None;
        tracing::info!("config read again");
        Ok(())
    }

    /// Looks whether a file changed: a user's engine takes it, the system's says so.
    pub(crate) async fn look(&self, engine: &Engine) {
        if !engine.config().changed_on_disk() {
            return;
        }
        let mut state = self.state.lock().await;
        // Another connection may have taken it meanwhile.
        if !engine.config().changed_on_disk() {
            return;
        }
        let problem = if self.mode == Mode::System {
            "a config file has changed; `longshore engine restart` or SIGHUP puts it in force".to_owned()
        } else {
            match self.load(engine, &mut state).await {
                Ok(()) => return,
                Err(error) => format!("the config that was in force stays: {error}"),
            }
        };
        if state.problem.as_ref() != Some(&problem) {
            tracing::warn!("{problem}");
        }
        state.problem = Some(problem);
    }

    /// What a user should know of the config.
    pub(crate) async fn problem(&self) -> Option<String> {
        self.state.lock().await.problem.clone()
    }

    /// A request that names another `--config`: an idle on-demand engine takes it, any other refuses.
    pub(crate) async fn other(&self, engine: &Engine, named: &str, idle: bool) -> Result<(), Refusal> {
        let mut state = self.state.lock().await;
        if state.explicit.as_deref() == Some(Path::new(named)) {
            return Ok(());
        }
        if self.mode != Mode::OnDemand || !idle {
            let mine = match &state.explicit {
                Some(path) => format!("with --config {}", path.display()),
                None => "without --config".to_owned(),
            };
            return Err(Refusal::new(
                hyper::StatusCode::CONFLICT,
                format!("this engine runs {mine}, --config {named} is another"),
            )
            .hint("stop it with `longshore engine stop` (containers go on), or leave --config out"));
        }
        let before = state.explicit.replace(PathBuf::from(named));
        if let Err(error) = self.load(engine, &mut state).await {
            state.explicit = before;
            return Err(error.into());
        }
        Ok(())
    }
}
