//! The schema of the load: what `seed` creates, what stays, and what comes and goes.

use crate::versions::Generation;

/// One index or constraint of the load.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name; in 3.0, which gives none, what the server calls it: `INDEX ON :Item(n)`.
    pub name: &'static str,
    /// What stands before and after the name in `CREATE ... <name> IF NOT EXISTS FOR ...`; `None`
    /// in 3.0, where `CREATE` and what the server calls it is the statement, and may be repeated.
    named: Option<(&'static str, &'static str)>,
}

impl Rule {
    /// The statement that creates it, unless it exists.
    pub fn create(&self) -> String {
        match self.named {
            Some((kind, on)) => format!("CREATE {kind} {} IF NOT EXISTS FOR {on}", self.name),
            None => format!("CREATE {}", self.name),
        }
    }

    /// The statement that drops it, if it exists; in 3.0 it is refused when it does not
    /// ([`crate::bolt::Failure::is_nothing_to_drop`]).
    pub fn drop(&self) -> String {
        let what = if self.is_constraint() { "CONSTRAINT" } else { "INDEX" };
        match self.named {
            Some(_) => format!("DROP {what} {} IF EXISTS", self.name),
            None => format!("DROP {}", self.name),
        }
    }

    /// The statement that drops what is left of a constraint whose creation was cut off, from 5 on.
    ///
    /// A constraint is created in several transactions: its index, then the constraint. A server that
    /// is killed between them starts again with an index that stays `POPULATING` and belongs to no
    /// constraint, which the checker reports; its users drop it (seen on 5.26.30 and 2026.08.1). A
    /// copy that ends there is as good as that server.
    pub fn drop_unfinished(&self) -> String {
        format!("DROP INDEX {} IF EXISTS", self.name)
    }

    /// Whether it is a constraint, which from 5 on has an index of the same name.
    pub fn is_constraint(&self) -> bool {
        self.named.map_or(self.name, |(kind, _)| kind).starts_with("CONSTRAINT")
    }
}

const fn rule(kind: &'static str, name: &'static str, on: &'static str) -> Rule {
    Rule { name, named: Some((kind, on)) }
}

const fn unnamed(name: &'static str) -> Rule {
    Rule { name, named: None }
}

/// Created by `seed` and never dropped.
pub const fn lasting(generation: Generation) -> &'static [Rule] {
    match generation {
        Generation::Three => LASTING_3_0,
        Generation::Five => LASTING,
    }
}

/// Created and dropped while the load runs.
pub const fn passing(generation: Generation) -> &'static [Rule] {
    match generation {
        Generation::Three => PASSING_3_0,
        Generation::Five => PASSING,
    }
}

const VECTOR_OF_8: &str = "(i:Item) ON (i.vec) OPTIONS {indexConfig: \
                           {`vector.dimensions`: 8, `vector.similarity_function`: 'cosine'}}";

const LASTING: &[Rule] = &[
    rule("CONSTRAINT", "account_id", "(a:Account) REQUIRE a.id IS UNIQUE"),
    rule("CONSTRAINT", "writer_id", "(w:Writer) REQUIRE w.id IS UNIQUE"),
    rule("CONSTRAINT", "hub_id", "(h:Hub) REQUIRE h.id IS UNIQUE"),
    rule("RANGE INDEX", "seq_writer_n", "(s:Seq) ON (s.writer, s.n)"),
    rule("RANGE INDEX", "item_writer_n", "(i:Item) ON (i.writer, i.n)"),
    rule("RANGE INDEX", "item_n", "(i:Item) ON (i.n)"),
    rule("TEXT INDEX", "item_text", "(i:Item) ON (i.text)"),
    rule("POINT INDEX", "item_place", "(i:Item) ON (i.place)"),
    rule("FULLTEXT INDEX", "item_words", "(i:Item) ON EACH [i.text]"),
    rule("VECTOR INDEX", "item_vector", VECTOR_OF_8),
    rule("RANGE INDEX", "next_n", "()-[r:NEXT]-() ON (r.n)"),
];

const PASSING: &[Rule] = &[
    rule("RANGE INDEX", "passing_range", "(i:Item) ON (i.i, i.len)"),
    rule("TEXT INDEX", "passing_text", "(a:Seq) ON (a.note)"),
    rule("FULLTEXT INDEX", "passing_words", "(n:Item|Seq) ON EACH [n.text, n.note]"),
    rule("POINT INDEX", "passing_point", "(s:Seq) ON (s.place)"),
    rule("CONSTRAINT", "passing_unique", "(i:Item) REQUIRE i.serial IS UNIQUE"),
    rule("VECTOR INDEX", "passing_vector", {
        "(s:Seq) ON (s.vec) OPTIONS {indexConfig: \
         {`vector.dimensions`: 8, `vector.similarity_function`: 'euclidean'}}"
    }),
];

const LASTING_3_0: &[Rule] = &[
    unnamed("CONSTRAINT ON ( account:Account ) ASSERT account.id IS UNIQUE"),
    unnamed("CONSTRAINT ON ( writer:Writer ) ASSERT writer.id IS UNIQUE"),
    unnamed("CONSTRAINT ON ( hub:Hub ) ASSERT hub.id IS UNIQUE"),
    unnamed("INDEX ON :Seq(n)"),
    unnamed("INDEX ON :Item(n)"),
    unnamed("INDEX ON :Item(text)"),
];

/// On nodes that nobody writes to: 3.0 breaks now and then when an index is dropped that others are writing
/// to ("Concurrent drop() while updates have not completed"). The constraint's index is filled at once: a backup of
/// the original tool that ends before the constraint follows its index cannot be gone on with.
const PASSING_3_0: &[Rule] = &[
    unnamed("INDEX ON :Filler(i)"),
    unnamed("INDEX ON :Filler(text)"),
    unnamed("CONSTRAINT ON ( hub:Hub ) ASSERT hub.name IS UNIQUE"),
];
