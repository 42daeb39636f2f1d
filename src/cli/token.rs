//! `loudhailer token`: who may ask the server for what. A token is shown once; the store has its digest.

use std::sync::Arc;

use anyhow::anyhow;
use base64::Engine;
use clap::{Parser, Subcommand};
use ring::rand::SecureRandom;
use serde_json::json;

use super::{Failure, runtime, show, store};
use crate::api::{Scope, token_hash};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::{Store, TokenRow};

#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Makes a token and prints it, this once.
    Create {
        /// Whose it is: it stands beside everything done with it.
        #[arg(long)]
        name: String,
        /// What it may: ingest, read, broadcast, admin; several separated by commas.
        #[arg(long, value_delimiter = ',', required = true, value_parser = scope)]
        scope: Vec<Scope>,
        /// It belongs to a person, who may confirm a cause; a machine may not.
        #[arg(long)]
        person: bool,
        #[arg(long)]
        json: bool,
    },
    /// Lists the tokens by name, without themselves.
    List {
        #[arg(long)]
        json: bool,
    },
    /// Withdraws a token; it is refused within two seconds.
    Revoke { name: String },
}

fn scope(text: &str) -> Result<Scope, String> {
    text.parse()
}

pub fn run(config: Config, args: Args) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let store = store(&config).await?;
        let done = act(&store, args.what).await;
        store.close().await.map_err(anyhow::Error::from)?;
        done
    })
}

async fn act(store: &Arc<dyn Store>, what: What) -> Result<(), Failure> {
    match what {
        What::Create { name, scope, person, json } => {
            if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
                return Err(Failure::Wrong("--name: 1 to 128 characters without control characters".into()));
            }
            let mut bytes = [0u8; 32];
            ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("no randomness"))?;
            let token = format!("lh_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes));
            let mut scopes: Vec<String> = scope.iter().map(|scope| scope.word().to_string()).collect();
            scopes.sort();
            scopes.dedup();
            let row = TokenRow { name: name.clone(), person, scopes: scopes.clone() };
            let added = store.access().add_token(token_hash(&token), row, Clock::system().calendar()).await;
            if !added.map_err(anyhow::Error::from)? {
                return Err(Failure::Failed(anyhow!("there is a token named {name:?}; revoke it first")));
            }
            match json {
                true => show::json(&json!({ "name": name, "scopes": scopes, "person": person, "token": token })),
                false => show::line(&token),
            }
        }
        What::List { json } => {
            let mut rows: Vec<TokenRow> =
                store.access().tokens().await.map_err(anyhow::Error::from)?.into_iter().map(|(_, row)| row).collect();
            rows.sort_by(|a, b| a.name.cmp(&b.name));
            if json {
                let rows =
                    rows.iter().map(|row| json!({ "name": row.name, "scopes": row.scopes, "person": row.person }));
                return show::json(&rows.collect::<Vec<_>>());
            }
            let cells = |row: &TokenRow| vec![row.name.clone(), row.scopes.join(" "), row.person.to_string()];
            show::table(&["name", "scopes", "person"], &rows.iter().map(cells).collect::<Vec<_>>())
        }
        What::Revoke { name } => match store.access().remove_token(&name).await.map_err(anyhow::Error::from)? {
            true => show::line(&format!("revoked {name}")),
            false => Err(Failure::Failed(anyhow!("there is no token named {name:?}"))),
        },
    }
}
