//! What a set of templates is refused for, and what it keeps.

use super::*;

#[test]
fn what_a_template_may_not_do_is_refused_when_it_loads_with_file_line_and_the_nearest_name() {
    let part = |body: &str| {
        format!(
            "{{{{#*inline \"headline\"}}}}h{{{{/inline}}}}\n{{{{#*inline \"short\"}}}}s{{{{/inline}}}}\n{{{{#*inline \"body\"}}}}\n{body}\n{{{{/inline}}}}\n"
        )
    };
    for (body, expected) in [
        ("{{servces}}", "templates/press/update.hbs:4: nothing is called servces; did you mean services?"),
        ("{{next.wen}}", "templates/press/update.hbs:4: nothing is called next.wen; did you mean next.when?"),
        (
            "{{#if next}}{{next}}{{/if}}",
            "templates/press/update.hbs:4: next is a time: write next.short, next.when, next.full …",
        ),
        ("\n{{summary}}", "templates/press/update.hbs:5: summary may be absent: put it inside {{#if summary}}"),
        (
            "{{#if summary}}a{{else}}{{summary}}{{/if}}",
            "templates/press/update.hbs:4: summary may be absent: put it inside {{#if summary}}",
        ),
        (
            "{{#if (or summary title)}}{{title}}{{/if}}",
            "templates/press/update.hbs:4: title may be absent: put it inside {{#if title}}",
        ),
        (
            "{{#if cause}}{{cause.text}}{{/if}}",
            "templates/press/update.hbs:4: cause.text may be absent: put it inside {{#if cause.text}}",
        ),
        ("{{cause.name}}", "templates/press/update.hbs:4: cause.name may be absent: put it inside {{#if cause.name}}"),
        (
            "{{#if owner}}{{owner}}{{/if}}",
            "templates/press/update.hbs:4: owner is internal, above this audience's clearance, public",
        ),
        (
            "{{#if impact.users}}many{{/if}}",
            "templates/press/update.hbs:4: impact.users is partner, above this audience's clearance, public",
        ),
        (
            "{{#if (eq status \"monitring\")}}a{{/if}}",
            "templates/press/update.hbs:4: status is never \"monitring\"; did you mean \"monitoring\"?",
        ),
        (
            "{{#if next}}\n{{field \"name\" \"x\"}}{{/if}}",
            "templates/press/update.hbs:5: a recipient's field may not stand inside if, unless, each or with: words are the same for all",
        ),
        ("{{field \"nam\" \"x\"}}", "templates/press/update.hbs:4: no field is called \"nam\"; did you mean \"name\"?"),
        (
            "{{field \"name\" sender}}",
            "templates/press/update.hbs:4: write {{field \"name\" \"what stands there without one\"}}",
        ),
        (
            "{{agree \"is\" services}}",
            "templates/press/update.hbs:4: write {{agree \"is\" \"are\"}}: for one service, and for more",
        ),
        (
            "{{#each services}}{{this}}{{/each}}",
            "templates/press/update.hbs:4: there is no block each, only if and unless",
        ),
        ("{{{services}}}", "templates/press/update.hbs:4: {{{…}}} and {{&…}} are not allowed: facts are escaped"),
        ("{{> shrt}}", "templates/press/update.hbs:4: there is no partial shrt; did you mean short?"),
        ("{{> body}}", "templates/press/update.hbs:4: partials include each other: body > body"),
        (
            "{{lookup facts \"owner\"}}",
            "templates/press/update.hbs:4: {{lookup …}} is not known here; only field and agree take words, conditions stand in if",
        ),
        ("{{../owner}}", "templates/press/update.hbs:4: nothing is called ../owner"),
        ("{{@root.owner}}", "templates/press/update.hbs:4: nothing is called @root.owner"),
        ("{{#if next}}", "templates/press/update.hbs:"),
        ("a\u{e000}", "templates/press/update.hbs:4: U+E000 is a private-use character"),
    ] {
        let problems =
            load(&[("press/update.hbs", &part(body))]).err().unwrap_or_else(|| panic!("{body} was not refused"));
        let shown: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
        assert!(shown.iter().any(|problem| problem.starts_with(expected)), "{body}: {shown:?}");
    }
    for body in [
        "{{#if (and next where)}}{{next.when}} {{where}}{{/if}}",
        "{{#unless summary}}none{{else}}{{summary}}{{/unless}}",
        "{{#if (not summary)}}none{{else}}{{summary}}{{/if}}",
        "{{#if (or (not summary) (not next))}}none{{else}}{{summary}} {{next.when}}{{/if}}",
        "{{#if summary}}{{#if (fits summary 20)}}x{{else if next}}{{next.when}} {{summary}}{{/if}}{{/if}}",
        "{{#if cause.text}}{{cause.name}}{{/if}}",
        "{{> headline}} {{field \"name\" \"x\"}}",
    ] {
        let loaded = load(&[("press/update.hbs", &part(body))]);
        assert!(loaded.is_ok(), "{body}: {:?}", loaded.err());
    }
}

#[test]
fn what_would_overflow_the_stack_is_refused() {
    let whole = |body: &str| UPDATE.replace("{{summary}}", body);
    let deep = format!("{}{{{{summary}}}}{}", "{{#if summary}}".repeat(20_000), "{{/if}}".repeat(20_000));
    let nested = format!("{{{{#if {}summary{}}}}}x{{{{/if}}}}", "(not ".repeat(5_000), ")".repeat(5_000));
    let chain = format!("{{{{#if summary}}}}a{}{{{{/if}}}}", "{{else if summary}}b".repeat(3_000));
    let array = format!("{{{{#if {}{}}}}}x{{{{/if}}}}", "[".repeat(30_000), "]".repeat(30_000));
    for text in [deep, nested, chain, array].map(|body| whole(&body)) {
        let problems = load(&[("press/update.hbs", &text)]).err().expect("refused");
        assert!(problems.iter().any(|p| p.check == "nesting" || p.check == "size"), "{problems:?}");
    }
    let circle = [
        ("press/update.hbs", whole("{{> a}}")),
        ("partials/a.hbs", "{{#if next}}{{> b}}{{/if}}".into()),
        ("partials/b.hbs", "{{> a}}".into()),
    ];
    let circle: Vec<(&str, &str)> = circle.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let problems = load(&circle).err().expect("refused");
    assert!(problems.iter().any(|p| p.message == "partials include each other: body > a > b > a"), "{problems:?}");
    // Each includes the next one ten times.
    let mut bomb: Vec<(String, String)> =
        (0..9).map(|n| (format!("partials/p{n}.hbs"), format!("{{{{> p{}}}}}", n + 1).repeat(10))).collect();
    bomb.push(("partials/p9.hbs".into(), "boom".into()));
    bomb.push(("press/update.hbs".into(), whole("{{> p0}}")));
    let bomb: Vec<(&str, &str)> = bomb.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert!(load(&bomb).err().expect("refused").iter().any(|p| p.check == "nesting"));
}

#[test]
fn shared_partials_are_taken_in_the_readers_language() {
    let both = [
        ("public/update.hbs", UPDATE.replace("We are sorry.", "{{> sorry}}")),
        ("public/update.de.hbs", GERMAN.replace("ausgefallen.", "ausgefallen. {{> sorry}}")),
        ("partials/sorry.hbs", "We are very sorry.".into()),
        ("partials/sorry.de.hbs", "Es tut uns leid.".into()),
    ];
    let both: Vec<(&str, &str)> = both.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let set = load(&both).expect("loads");
    for (locale, expected) in [("en", "We are very sorry."), ("de", "Es tut uns leid.")] {
        let wording = Wording { locale: locale.into(), ..wording(Format::Chat, Markup::Plain) };
        let text = render(&set, &world().scene(), &wording).expect("renders").message.fill(&Fields::default()).text;
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_stored_set_says_the_same_and_has_the_same_digest() {
    let set = set();
    let again = Templates::from_bytes(&set.to_bytes()).expect("reads");
    assert_eq!(set.digest(), again.digest());
    let wording = wording(Format::Email, Markup::Plain);
    let world = world();
    assert_eq!(
        render(&set, &world.scene(), &wording).expect("renders").message.to_bytes(),
        render(&again, &world.scene(), &wording).expect("renders").message.to_bytes()
    );
    let other = load(&[("public/update.hbs", &UPDATE.replace("sorry", "very sorry"))]).expect("loads");
    assert_ne!(set.digest(), other.digest());
}

#[test]
fn an_operators_directory_adds_and_replaces_and_its_faults_are_refused() {
    let directory = tempfile::tempdir().expect("directory");
    std::fs::create_dir_all(directory.path().join("customers")).expect("folder");
    let file = directory.path().join("customers/update.de.hbs");
    std::fs::write(&file, GERMAN.replace("Guten Tag", "Grüß Gott")).expect("file");
    let set = Templates::load(Some(directory.path()), BTreeMap::new()).expect("loads");
    let german = Wording { locale: "de".into(), ..wording(Format::Chat, Markup::Plain) };
    let text = render(&set, &world().scene(), &german).expect("renders").message.fill(&Fields::default()).text;
    assert!(text.contains("Grüß Gott und hallo"), "{text}");
    std::fs::write(&file, GERMAN.replace("{{check}}", "{{chek}}")).expect("file");
    let problems = Templates::load(Some(directory.path()), BTreeMap::new()).err().expect("refused");
    assert_eq!(problems[0].message, "nothing is called chek; did you mean check?");
    std::fs::rename(&file, directory.path().join("customers/updte.hbs")).expect("renamed");
    let problems = Templates::load(Some(directory.path()), BTreeMap::new()).err().expect("refused");
    assert!(problems[0].message.contains("did you mean update?"), "{}", problems[0]);
}

#[test]
fn a_clearance_in_the_configuration_rules_what_a_folder_may_name() {
    let own = texts(&[("public/update.hbs", UPDATE), ("staff/update.hbs", STAFF)]);
    let lowered = BTreeMap::from([("staff".to_string(), Clearance::Partner)]);
    let problems = Templates::from_files(own, lowered).err().expect("refused");
    assert_eq!(problems[0].message, "owner is internal, above this audience's clearance, partner");
}
