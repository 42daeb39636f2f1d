//! The closed sets of words of CAP 1.2, sections 3.2.1 and 3.2.2.

use crate::incident::{self, words};

words!(Status { Actual = "Actual", Exercise = "Exercise", System = "System", Test = "Test", Draft = "Draft" });
words!(MsgType { Alert = "Alert", Update = "Update", Cancel = "Cancel", Ack = "Ack", Error = "Error" });
words!(Scope { Public = "Public", Restricted = "Restricted", Private = "Private" });
words!(Category {
    Geo = "Geo", Met = "Met", Safety = "Safety", Security = "Security", Rescue = "Rescue", Fire = "Fire", Health = "Health",
    Env = "Env", Transport = "Transport", Infra = "Infra", Cbrne = "CBRNE", Other = "Other",
});
words!(ResponseType {
    Shelter = "Shelter", Evacuate = "Evacuate", Prepare = "Prepare", Execute = "Execute", Avoid = "Avoid",
    Monitor = "Monitor", Assess = "Assess", AllClear = "AllClear", None = "None",
});
words!(Urgency {
    Immediate = "Immediate", Expected = "Expected", Future = "Future", Past = "Past", Unknown = "Unknown",
});
words!(Severity {
    Extreme = "Extreme", Severe = "Severe", Moderate = "Moderate", Minor = "Minor", Unknown = "Unknown",
});
words!(Certainty {
    Observed = "Observed", Likely = "Likely", Possible = "Possible", Unlikely = "Unlikely", Unknown = "Unknown",
});

impl Severity {
    /// Ours has one degree less: what threatens little and what nobody has judged are both no more than information.
    pub fn ours(self) -> incident::Severity {
        match self {
            Severity::Extreme => incident::Severity::Critical,
            Severity::Severe => incident::Severity::Major,
            Severity::Moderate => incident::Severity::Minor,
            Severity::Minor | Severity::Unknown => incident::Severity::Info,
        }
    }
}
