//! Tables and functions of a parser's tree.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AssignmentTarget, Delete, Expr, FromTable, Insert, ObjectName, ObjectNamePart, ObjectType, Query, SetExpr,
    Statement, TableFactor, TableObject, TableWithJoins, Update, Visit, Visitor,
};

use super::structure::TableUse;

/// What a tree names.
pub(super) struct Names {
    /// Tables; none if the statement is one of which the tree does not show them.
    pub(super) tables: Option<Vec<TableUse>>,
    /// Functions called, in lower case.
    pub(super) functions: Vec<String>,
}

/// Gathers the names of a statement.
pub(super) fn find(statement: &Statement) -> Names {
    let mut finder = Finder::default();
    let _ = statement.visit(&mut finder);
    Names { tables: (!finder.blind).then_some(finder.tables), functions: finder.functions }
}

#[derive(Default)]
struct Finder {
    tables: Vec<TableUse>,
    functions: Vec<String>,
    /// Queries around the current place whose WITH gives names.
    scopes: Vec<Scope>,
    /// Names that are written and not read, by their place in the tree.
    only_written: Vec<*const ObjectName>,
    /// A statement of which not all names are seen.
    blind: bool,
}

/// The names that a WITH gives: each is seen from the next one on, and from its own query on if RECURSIVE.
struct Scope {
    names: Vec<(String, *const Query)>,
    recursive: bool,
    seen: usize,
}

impl Finder {
    fn is_given(&self, name: &ObjectName) -> bool {
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return false };
        let gives = |scope: &Scope| {
            scope.names.iter().take(scope.seen).any(|(given, _)| given.eq_ignore_ascii_case(&ident.value))
        };
        self.scopes.iter().any(gives)
    }

    fn used(&mut self, name: &ObjectName, read: bool, written: bool) {
        if self.is_given(name) {
            return;
        }
        match parts(name).as_slice() {
            [table] => self.merge(None, table, read, written),
            [schema, table] => self.merge(Some(schema), table, read, written),
            _ => self.blind = true,
        }
    }

    fn merge(&mut self, schema: Option<&str>, name: &str, read: bool, written: bool) {
        let known = self.tables.iter_mut().find(|known| known.schema.as_deref() == schema && known.name == name);
        match known {
            Some(known) => {
                known.read |= read;
                known.written |= written;
            }
            None => {
                let schema = schema.map(str::to_owned);
                self.tables.push(TableUse { schema, name: name.to_owned(), read, written });
            }
        }
    }

    fn only_written(&mut self, name: &ObjectName) {
        self.only_written.push(name);
        self.used(name, false, true);
    }

    fn inserts(&mut self, insert: &Insert) {
        match &insert.table {
            TableObject::TableName(name) => self.only_written(name),
            _ => self.blind = true,
        }
    }

    fn updates(&mut self, update: &Update) {
        let sources = sources(std::slice::from_ref(&update.table));
        if let [(name, _)] = sources.as_slice() {
            return self.used(name, false, true);
        }
        for assignment in &update.assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(column) if column.0.len() > 1 => {
                    let owner = ObjectName(column.0[..column.0.len() - 1].to_vec());
                    self.writes_to(&owner, &sources);
                }
                // Whose column it is, only the server knows.
                _ => sources.iter().for_each(|(name, _)| self.used(name, false, true)),
            }
        }
    }

    fn deletes(&mut self, delete: &Delete) {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let Some(using) = &delete.using else {
            let all = sources(from);
            match delete.tables.as_slice() {
                [] => all.iter().for_each(|(name, _)| self.used(name, false, true)),
                targets => targets.iter().for_each(|target| self.deletes_from(target, &all)),
            }
            return;
        };
        // `DELETE FROM a USING t AS a`: the targets stand where tables stand elsewhere.
        let all = sources(using);
        sources(from).into_iter().for_each(|(target, _)| self.deletes_from(target, &all));
    }

    /// A target is named as its table is in the list of tables: by its alias if it has one.
    fn deletes_from(&mut self, target: &ObjectName, sources: &[(&ObjectName, Option<&str>)]) {
        self.only_written.push(target);
        self.writes_to(target, sources);
    }

    /// The table that goes by this name or alias is written.
    fn writes_to(&mut self, target: &ObjectName, sources: &[(&ObjectName, Option<&str>)]) {
        let wanted = parts(target);
        let is_target = |(name, alias): &&(&ObjectName, Option<&str>)| match (alias, wanted.as_slice()) {
            (Some(alias), [wanted]) => alias.eq_ignore_ascii_case(wanted),
            (Some(_), _) => false,
            (None, wanted) => parts(name).ends_with(wanted),
        };
        match sources.iter().find(is_target) {
            Some((name, _)) => self.used(name, false, true),
            None => self.used(target, false, true),
        }
    }

    fn look_at_statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::ExplainTable { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowDatabases { .. }
            | Statement::ShowSchemas { .. }
            | Statement::ShowCollation { .. }
            | Statement::ShowCharset(_)
            | Statement::Set(_)
            | Statement::Use(_)
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. } => {}
            Statement::ShowCreate { obj_name, .. } => self.used(obj_name, true, false),
            Statement::Insert(insert) => self.inserts(insert),
            Statement::Update(update) => self.updates(update),
            Statement::Delete(delete) => self.deletes(delete),
            Statement::Truncate(truncate) => {
                truncate.table_names.iter().for_each(|target| self.only_written(&target.name));
            }
            Statement::Drop { object_type: ObjectType::Table | ObjectType::View, names, .. } => {
                names.iter().for_each(|name| self.only_written(name));
            }
            Statement::CreateTable(create) => {
                self.only_written(&create.name);
                // CREATE TABLE t LIKE u, and foreign keys: not all of it is told as a table.
                self.blind |= create.like.is_some() || !create.constraints.is_empty();
            }
            Statement::CreateView(create) => self.only_written(&create.name),
            Statement::CreateIndex(create) => self.only_written(&create.table_name),
            _ => self.blind = true,
        }
    }
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.look_at_statement(statement);
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let here: *const Query = query;
        if let Some(scope) = self.scopes.last_mut()
            && let Some(place) = scope.names.iter().position(|(_, given)| *given == here)
        {
            scope.seen = if scope.recursive { scope.names.len() } else { place };
        }
        let names = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = names.map(|cte| (cte.alias.name.value.clone(), &raw const *cte.query)).collect();
        let recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        self.scopes.push(Scope { names, recursive, seen: 0 });
        if let SetExpr::Table(table) = &*query.body {
            match &table.table_name {
                Some(name) => self.merge(table.schema_name.as_deref(), name, true, false),
                None => self.blind = true,
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        let here: *const Query = query;
        if let Some(scope) = self.scopes.last_mut()
            && let Some(place) = scope.names.iter().position(|(_, given)| *given == here)
        {
            scope.seen = place + 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let here: *const ObjectName = name;
        if !self.only_written.contains(&here) {
            self.used(name, true, false);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            let name = parts(&function.name).join(".").to_lowercase();
            if !self.functions.contains(&name) {
                self.functions.push(name);
            }
        }
        ControlFlow::Continue(())
    }
}

/// The tables of a FROM with their aliases, joined ones included.
fn sources(from: &[TableWithJoins]) -> Vec<(&ObjectName, Option<&str>)> {
    let factors =
        from.iter().flat_map(|one| std::iter::once(&one.relation).chain(one.joins.iter().map(|join| &join.relation)));
    let mut all = Vec::new();
    for factor in factors {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                all.push((name, alias.as_ref().map(|alias| alias.name.value.as_str())));
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                all.extend(sources(std::slice::from_ref(table_with_joins)));
            }
            _ => {}
        }
    }
    all
}

/// The parts of a name; a part that is no name makes it none of ours.
fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.clone()).unwrap_or_default()).collect()
}
