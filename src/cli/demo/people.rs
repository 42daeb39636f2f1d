//! The demo's subscribers: 2,000 rows of CSV, the same at every run, over six audiences, our own outlets and five languages.
//! Who can't be reached is stated here and found by nobody else's code: `UNREACHABLE` people of three kinds.

use std::fmt::Write;

pub const PEOPLE: usize = 2000;

/// Whom no way reaches: the mailbox is refused, or the only address was never verified, or there is none.
pub const UNREACHABLE: usize = REFUSED + UNVERIFIED + ADDRESSLESS;
const REFUSED: usize = 12;
const UNVERIFIED: usize = 8;
const ADDRESSLESS: usize = 4;

/// The mail server of the demo has no mailboxes at this domain.
pub const NO_MAILBOXES: &str = "gone.example";
/// The mail server of the demo asks to be tried again at the first mail to each mailbox of this domain.
pub const BUSY_AT_FIRST: &str = "busy.example";

const HEADER: &str = "key,name,locale,time_zone,quiet_hours,audiences,components,whatsapp,telegram,slack,phone,email,\
                      email_verified,url\n";

/// A language, its zones, and names that people who speak it have.
struct Tongue {
    locale: &'static str,
    zones: [&'static str; 2],
    given: [&'static str; 8],
    family: [&'static str; 7],
}

const TONGUES: [Tongue; 5] = [
    Tongue {
        locale: "en",
        zones: ["Europe/London", "America/New_York"],
        given: ["Ada", "Grace", "Alan", "Joan", "Edsger", "Mary", "Tim", "Margaret"],
        family: ["Clarke", "Hughes", "Walker", "Bennett", "Foster", "Reid", "Mason"],
    },
    Tongue {
        locale: "de",
        zones: ["Europe/Berlin", "Europe/Vienna"],
        given: ["Anna", "Lukas", "Marie", "Jonas", "Lena", "Felix", "Käthe", "Jürgen"],
        family: ["Schneider", "Fischer", "Weber", "Schäfer", "Koch", "Bauer", "Größl"],
    },
    Tongue {
        locale: "es",
        zones: ["Europe/Madrid", "America/Mexico_City"],
        given: ["Lucía", "Mateo", "Carmen", "Diego", "Sofía", "Javier", "Inés", "Andrés"],
        family: ["García", "Martínez", "López", "Sánchez", "Ramírez", "Núñez", "Torres"],
    },
    Tongue {
        locale: "pt",
        zones: ["America/Sao_Paulo", "Europe/Lisbon"],
        given: ["Ana", "João", "Beatriz", "Tiago", "Inês", "Rafael", "Conceição", "Luís"],
        family: ["Silva", "Santos", "Oliveira", "Souza", "Pereira", "Gonçalves", "Araújo"],
    },
    Tongue {
        locale: "hi",
        zones: ["Asia/Kolkata", "Asia/Kolkata"],
        given: ["आरव", "दीया", "विवान", "अनन्या", "कबीर", "मीरा", "रोहन", "नेहा"],
        family: ["शर्मा", "वर्मा", "गुप्ता", "सिंह", "पटेल", "मिश्रा", "जोशी"],
    },
];

/// One row; an empty text is an empty cell.
#[derive(Default)]
struct Person {
    audiences: &'static str,
    locale: usize,
    quiet: &'static str,
    components: &'static str,
    whatsapp: bool,
    telegram: bool,
    slack: bool,
    phone: bool,
    email: Option<&'static str>,
    unverified: bool,
    /// The path of a webhook below the catcher's address.
    url: bool,
}

/// The whole file. `hooks` is where webhooks go; each gets a path of its own.
pub fn csv(hooks: &str) -> String {
    let mut out = String::from(HEADER);
    let mut n = 0;
    let mut add = |person: Person| {
        n += 1;
        row(&mut out, n, &person, hooks);
    };
    (0..8).map(executive).for_each(&mut add);
    (0..120).map(staff).for_each(&mut add);
    (0..3).map(outlet).for_each(&mut add);
    (0..180).map(business).for_each(&mut add);
    (0..40).map(|n| by_mail("press", n)).for_each(&mut add);
    (0..12).map(|n| by_mail("regulators", n)).for_each(&mut add);
    let rest = PEOPLE - 8 - 120 - 3 - 180 - 40 - 12 - UNREACHABLE;
    (0..rest).map(customer).for_each(&mut add);
    (0..UNREACHABLE).map(unreachable).for_each(&mut add);
    out
}

fn executive(_: usize) -> Person {
    Person {
        audiences: "executives;staff",
        whatsapp: true,
        phone: true,
        email: Some("corp.example"),
        quiet: "22:00-06:00",
        ..Person::default()
    }
}

fn staff(n: usize) -> Person {
    Person {
        audiences: if n.is_multiple_of(10) { "staff;customers" } else { "staff" },
        whatsapp: n.is_multiple_of(6),
        slack: n.is_multiple_of(2),
        phone: true,
        email: Some("corp.example"),
        ..Person::default()
    }
}

/// Our own outlets: two pages that take webhooks, and a channel that people follow.
fn outlet(n: usize) -> Person {
    Person { audiences: "public", url: n < 2, telegram: n == 2, ..Person::default() }
}

fn business(n: usize) -> Person {
    // Where a mailbox is refused, a text message is the way on.
    let refused = n % 30 == 29;
    let webhook = n < 60;
    Person {
        audiences: "businesses",
        locale: if n.is_multiple_of(4) { n / 4 % 5 } else { 0 },
        components: if n.is_multiple_of(9) { "whatsapp" } else { "" },
        url: webhook,
        phone: refused || n.is_multiple_of(3),
        email: Some(if refused && !webhook { NO_MAILBOXES } else { "business.example" }),
        ..Person::default()
    }
}

fn by_mail(audience: &'static str, n: usize) -> Person {
    let email = if n == 0 { BUSY_AT_FIRST } else { "desk.example" };
    Person { audiences: audience, email: Some(email), ..Person::default() }
}

fn customer(n: usize) -> Person {
    let whatsapp = n.is_multiple_of(8);
    let telegram = n % 80 == 1;
    // Half of those who prefer a chat have a phone to fall back on, half a mailbox.
    let phone = if whatsapp || telegram { n % 16 < 8 } else { n % 5 < 2 };
    let both = n.is_multiple_of(7);
    Person {
        audiences: "customers",
        locale: n % 5,
        quiet: if n.is_multiple_of(3) { "22:00-07:00" } else { "" },
        // Who only wants to hear of something else is told nothing; who asked for this is told.
        components: match n % 40 {
            3 => "workplace",
            7 => "instagram;messenger",
            11 => "whatsapp",
            _ => "",
        },
        whatsapp,
        telegram,
        phone: phone || both,
        email: (!phone || both).then_some(if n % 400 == 2 { BUSY_AT_FIRST } else { "mail.example" }),
        ..Person::default()
    }
}

fn unreachable(n: usize) -> Person {
    let email = match n {
        n if n < REFUSED => Some(NO_MAILBOXES),
        n if n < REFUSED + UNVERIFIED => Some("mail.example"),
        _ => None,
    };
    Person { audiences: "customers", locale: n % 5, email, unverified: n >= REFUSED, ..Person::default() }
}

fn row(out: &mut String, n: usize, person: &Person, hooks: &str) {
    let tongue = &TONGUES[person.locale];
    let outlet = person.audiences == "public";
    let name = match outlet {
        true => format!("Outlet {n}"),
        false => format!("{} {}", tongue.given[n % 8], tongue.family[n / 5 % 7]),
    };
    // +999 is no country's.
    let phone = format!("+999{n:08}");
    let only = |wanted: bool, text: String| if wanted { text } else { String::new() };
    let cells = [
        format!("demo-{n:04}"),
        name,
        tongue.locale.into(),
        if outlet { "UTC" } else { tongue.zones[n / 5 % 2] }.into(),
        person.quiet.into(),
        person.audiences.into(),
        person.components.into(),
        only(person.whatsapp, phone.clone()),
        only(person.telegram, if outlet { "@outage_news".into() } else { format!("{}", 100_000_000 + n) }),
        only(person.slack, format!("U{n:08}")),
        only(person.phone, phone.clone()),
        person.email.map(|domain| format!("person-{n}@{domain}")).unwrap_or_default(),
        only(person.email.is_some(), (!person.unverified).to_string()),
        only(person.url, format!("{hooks}/{n}")),
    ];
    let _ = writeln!(out, "{}", cells.join(","));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_two_thousand_rows_in_six_audiences_and_five_languages() {
        let text = csv("http://127.0.0.1:1/hooks");
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
        assert_eq!(rows.len(), PEOPLE);
        assert!(rows.iter().all(|row| row.len() == HEADER.split(',').count()));
        let of = |column: usize| {
            let values = rows.iter().flat_map(|row| row[column].split(';')).map(str::to_string);
            values.collect::<std::collections::BTreeSet<String>>()
        };
        assert_eq!(of(2).into_iter().collect::<Vec<_>>(), ["de", "en", "es", "hi", "pt"]);
        assert_eq!(of(5).len(), 7, "six audiences and our own outlets");
        let whatsapp = rows.iter().filter(|row| !row[7].is_empty());
        assert!(whatsapp.clone().count() > 200);
        assert!(whatsapp.clone().all(|row| !row[10].is_empty() || !row[11].is_empty()), "each has another way");
        assert_eq!(text, csv("http://127.0.0.1:1/hooks"), "the same at every run");
    }
}
