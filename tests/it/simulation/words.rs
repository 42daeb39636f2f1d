//! The plan that every world follows, with what only some want, and words as short as they can be, so that a seed spends its time in the engine.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use loudhailer::incident::Clearance;
use loudhailer::plan::{self, Plans};
use loudhailer::render::Templates;

use super::variety::Variety;

/// Who is spoken to, in the order in which a person of several is told once.
pub const AUDIENCES: [(&str, Clearance); 4] = [
    ("staff", Clearance::Internal),
    ("customers", Clearance::Public),
    ("press", Clearance::Public),
    ("executives", Clearance::Internal),
];

/// After so long a broadcast expires.
pub const DEADLINE: Duration = Duration::from_secs(3 * 3600);

const PLAN: &str = r#"
title = "simulated"
[[step]]
name = "staff"
audience = "staff"
routes = ["sms+email", "hook"]
priority = "critical"
[[step]]
name = "customers"
audience = "customers"
routes = ["sms", "email"]
priority = "normal"
at_most = "2/min"
[[step]]
name = "press"
audience = "press"
routes = ["hook", "email"]
priority = "bulk"
at_least = "50m"
[[step]]
name = "executives"
audience = "executives"
routes = ["hook"]
priority = "high"
also = true
"#;

const UPDATE: &str = r#"{{#*inline "headline"}}Update {{update_number}}{{/inline}}
{{#*inline "short"}}{{#if summary}}{{summary}}{{/if}} {{check}}{{/inline}}
{{#*inline "body"}}{{#if summary}}{{summary}}{{/if}}{{/inline}}
"#;

pub fn plans(variety: &Variety) -> Plans {
    let mut text = PLAN.to_string();
    let mut add = |to: &str, line: &str| text = text.replace(to, &format!("{to}\n{line}"));
    if variety.approval {
        add("audience = \"customers\"", "approval = true");
    }
    if variety.confirmations {
        add("audience = \"staff\"", "confirm_within = \"20s\"");
        add("audience = \"customers\"", "confirm_within = \"30s\"");
        add("audience = \"press\"", "confirm_within = \"25s\"");
    }
    let plan = plan::parse("simulated", "simulated.toml", &text).expect("plan");
    let audiences = AUDIENCES.map(|(name, clearance)| (name.to_string(), clearance)).into();
    Plans::new(vec![plan], audiences, BTreeSet::new(), DEADLINE)
}

pub fn templates() -> Arc<Templates> {
    static TEMPLATES: OnceLock<Arc<Templates>> = OnceLock::new();
    let made = || {
        let layouts = ["email-text", "sms", "chat", "push", "post", "voice"];
        let mut texts: std::collections::BTreeMap<String, String> =
            layouts.map(|name| (format!("layouts/{name}.hbs"), "{{short}}".to_string())).into();
        let mail = "<mjml><mj-body><mj-section><mj-column><mj-text>{{short}}</mj-text></mj-column></mj-section></mj-body></mjml>";
        texts.insert("layouts/email.hbs".into(), mail.into());
        texts.insert("locales/en.toml".into(), include_str!("../../../templates/locales/en.toml").into());
        texts.insert("public/update.hbs".into(), UPDATE.into());
        match Templates::from_files(texts, Default::default()) {
            Ok(set) => Arc::new(set),
            Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    };
    TEMPLATES.get_or_init(made).clone()
}
