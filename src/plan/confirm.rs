//! Plans that ask for confirmations which no channel of theirs can give. Pure.

use super::{Plan, Step};

/// A channel, as far as a confirmation asks for it.
pub struct Confirms<'a> {
    pub name: &'a str,
    pub kind: &'a str,
    /// Its platform reports what arrived.
    pub reports: bool,
}

/// What is wrong with the `confirm_within` of plans, and whether it is in vain altogether.
pub fn unconfirmable(plans: &[Plan], channels: &[Confirms<'_>]) -> Vec<(bool, String)> {
    let asking = |step: &&Step| step.confirm_within.is_some();
    let steps = plans.iter().flat_map(|plan| plan.steps.iter().filter(asking).map(move |step| (plan, step)));
    let said = steps.filter_map(|(plan, step)| {
        let (_, routes) = step.routes.split_last()?;
        let used = |channel: &&Confirms<'_>| {
            routes.iter().flat_map(|route| &route.0).any(|member| member == channel.name || member == channel.kind)
        };
        let silent: Vec<&str> =
            channels.iter().filter(used).filter(|channel| !channel.reports).map(|channel| channel.name).collect();
        let none = !channels.iter().filter(used).any(|channel| channel.reports);
        let what =
            if none { "no channel of its routes reports what arrived" } else { "what goes by these is not confirmed" };
        let text = format!("plan {}, step {}: confirm_within: {what}: {}", plan.name, step.name, silent.join(" "));
        (!silent.is_empty()).then_some((none, text))
    });
    said.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::parse;

    #[test]
    fn a_step_that_asks_channels_which_can_not_confirm_is_named() {
        let plan = |routes: &str| {
            let text = format!(
                "title = \"x\"\n[[step]]\nname = \"a\"\naudience = \"b\"\npriority = \"high\"\nroutes = [{routes}]\n\
                 confirm_within = \"90s\"\n"
            );
            [parse("p", "p.toml", &text).expect("a plan")]
        };
        let channel = |name, kind, reports| Confirms { name, kind, reports };
        let channels = [channel("mail", "email", false), channel("sms-a", "sms", true), channel("sms-b", "sms", false)];
        assert_eq!(unconfirmable(&plan("\"sms-a\", \"email\""), &channels), []);
        assert_eq!(unconfirmable(&plan("\"push\", \"email\""), &channels), [], "it has no channel at all");
        let said = |in_vain, why: &str| vec![(in_vain, format!("plan p, step a: confirm_within: {why}"))];
        assert_eq!(
            unconfirmable(&plan("\"email\", \"sms\""), &channels),
            said(true, "no channel of its routes reports what arrived: mail")
        );
        assert_eq!(
            unconfirmable(&plan("\"sms\", \"email\""), &channels),
            said(false, "what goes by these is not confirmed: sms-b")
        );
    }
}
