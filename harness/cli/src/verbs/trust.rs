//! `prebake trust`: whose native code is run.

use crate::args::{TrustArgs, TrustCommand, TrustedArgs};
use crate::shell::{Shell, show};
use prebake::distribution::trust::{Policy, PublicKey, Rule, Scope, TrustError};
use prebake::error::Result;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &TrustArgs) -> ExitCode {
    super::end(
        shell,
        match &args.command {
            TrustCommand::Add(trusted) => add(shell, trusted),
            TrustCommand::List { json } => list(shell, *json),
            TrustCommand::Remove(trusted) => remove(shell, trusted),
        },
    )
}

fn add(shell: &Shell, args: &TrustedArgs) -> Result<()> {
    let rule = Rule { key: args.key.as_deref().map(|key| shell.public_key(key)).transpose()?, repositories: scope(args)? };
    let is_new = Policy::change(&shell.context, |policy| Ok(policy.add(rule.clone())))?;
    let already = if is_new { "" } else { " already" };
    shell.say(format_args!("{rule} is trusted{already}"));
    Ok(())
}

fn remove(shell: &Shell, args: &TrustedArgs) -> Result<()> {
    let scope = scope(args)?;
    // The key's file may be lost; then its fingerprint names it.
    let fingerprint = match args.key.as_deref() {
        Some(key) if key.starts_with("sha256:") => Some(key.to_owned()),
        Some(key) => Some(shell.public_key(key)?.fingerprint().to_string()),
        None => None,
    };
    let is_meant = |rule: &Rule| {
        let key = rule.key.map(|key| key.fingerprint().to_string());
        // A key without repositories is meant wherever it is trusted.
        key == fingerprint && (rule.repositories == scope || (scope.is_none() && key.is_some()))
    };
    let what = [fingerprint.clone(), scope.as_ref().map(ToString::to_string)].into_iter().flatten().collect::<Vec<_>>().join(" for ");
    let gone = Policy::change(&shell.context, |policy| match policy.remove(is_meant) {
        gone if gone.is_empty() => Err(TrustError::NotTrusted { what }.into()),
        gone => Ok(gone),
    })?;
    for rule in gone {
        shell.say(format_args!("{rule} is no longer trusted"));
    }
    Ok(())
}

fn scope(args: &TrustedArgs) -> Result<Option<Scope>> {
    Ok(args.repositories.as_deref().map(str::parse).transpose()?)
}

fn list(shell: &Shell, as_json: bool) -> Result<()> {
    let policy = Policy::open(&shell.context)?;
    if as_json {
        let rule = |rule: &Rule| {
            json!({
                "key": rule.key.map(|key| key.fingerprint().to_string()),
                "pem": rule.key.map(PublicKey::to_pem),
                "repositories": rule.repositories,
            })
        };
        // Whoever reads the first lines only has seen enough.
        let _ = writeln!(std::io::stdout(), "{:#}", serde_json::Value::Array(policy.rules().iter().map(rule).collect()));
    } else {
        let row = |key: &str, repositories: &str| format!("{key:71}  {repositories}\n");
        let mut text = row("KEY", "REPOSITORIES");
        for rule in policy.rules() {
            let key = rule.key.map_or("any or none".into(), |key| key.fingerprint().to_string());
            text += &row(&key, &rule.repositories.as_ref().map_or("all".into(), ToString::to_string));
        }
        show(&text);
    }
    Ok(())
}
