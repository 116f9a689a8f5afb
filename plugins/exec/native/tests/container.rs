//! The conformance suite of exec drivers on this one, linked in: real containers, made by the kit,
//! which runs this binary again for each case.
#![allow(clippy::unwrap_used, reason = "tests")]
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use longshore_conformance::{Outcome, Target, exec, names, run};
use longshore_exec_native::Native;
use longshore_loader::Loaded;
use longshore_plugin::exec::ExecKind;
use longshore_plugin::serve::Static;
use longshore_plugin::wire::Channel;

fn native() -> Arc<dyn Channel> {
    Arc::new(Static::<Native, ExecKind>::new())
}

fn main() -> ExitCode {
    if let Some(code) = exec::play(&[("native", native)]) {
        return code;
    }
    let trials = names("exec")
        .into_iter()
        .map(|case| Trial::test(format!("root_{case}"), move || passes(case)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn passes(case: &str) -> Result<(), libtest_mimic::Failed> {
    let target = Target {
        loaded: Arc::new(Loaded::over(native()).unwrap()),
        options: vec![],
        folder: None,
    };
    // The filter finds all whose name holds it.
    let ended = run(&target, case).unwrap();
    match &ended.iter().find(|one| one.name == case).unwrap().outcome {
        Outcome::Pass => Ok(()),
        Outcome::Skip(reason) => {
            println!("SKIP: {reason}");
            Ok(())
        }
        Outcome::Fail(why) => Err(why.into()),
    }
}
