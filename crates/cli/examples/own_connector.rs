//! A host with a connector of its own and the whole command line of Trunkline, the server included:
//! `cargo run -p trunkline-cli --example own_connector -- connectors`.
//!
//! In a project, `main` is the program, and the connector is a crate of its own. `crates/runtime/examples/connector.rs`
//! shows a connector to an HTTP service.

use std::process::ExitCode;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline::core::{
    Action, CheckReport, ConnectionContext, Connector, Context, Effect, Error, ErrorKind, Registry, Result, async_trait,
};

struct Stock;

/// The settings of a connection. Doc comments are the labels and the help of its form.
#[derive(Deserialize, JsonSchema)]
struct Settings {
    /// # File
    ///
    /// Lines with the number of an article, a tab, and the quantity in stock.
    file: String,
}

#[async_trait]
impl Connector for Stock {
    const NAME: &'static str = "stock";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Stock list";
    type Settings = Settings;
    type Client = Settings;

    fn connect(settings: Settings, _: ConnectionContext) -> Result<Settings> {
        Ok(settings)
    }

    async fn check(client: &Settings) -> CheckReport {
        client.lines().map_or_else(|error| CheckReport::of_settings("", &error), |_| CheckReport::default())
    }
}

impl Settings {
    fn lines(&self) -> Result<String> {
        std::fs::read_to_string(&self.file)
            .map_err(|error| Error::new(ErrorKind::Unavailable, format!("{} cannot be read: {error}", self.file)))
    }
}

/// Reads the quantity of one article.
struct Quantity;

#[derive(Deserialize, JsonSchema)]
struct Article {
    /// # Article number
    article: String,
}

#[derive(Serialize, JsonSchema)]
struct InStock {
    quantity: u64,
}

#[async_trait]
impl Action for Quantity {
    type Connector = Stock;
    type Input = Article;
    type Output = InStock;
    const NAME: &'static str = "article.quantity";
    const TITLE: &'static str = "Read the quantity in stock";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Settings, input: Article, _: &Context) -> Result<InStock> {
        let lines = client.lines()?;
        let quantity = lines.lines().filter_map(|line| line.split_once('\t')).find(|(one, _)| *one == input.article);
        let quantity = quantity.and_then(|(_, quantity)| quantity.trim().parse().ok());
        quantity.map(|quantity| InStock { quantity }).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no quantity of article {}", input.article))
        })
    }
}

fn main() -> ExitCode {
    trunkline_cli::main(Registry::empty().with_connector::<Stock>().with_action::<Quantity>())
}
