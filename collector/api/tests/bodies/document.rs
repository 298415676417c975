//! The OpenAPI document as a judge: which operation a path is of, and whether an answer is what its schema says.

use std::collections::{BTreeMap, BTreeSet};

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde_json::{Map, Value, json};

const PLACE: &str = "http://localhost/api/openapi.json";
const PREFIX: &str = "#/components/schemas/";

/// The document, with every object closed: a member that it does not name is an error here.
pub(crate) struct Document {
    document: Value,
    compiler: Compiler,
    schemas: Schemas,
}

impl Document {
    pub(crate) fn read(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).unwrap();
        let mut closed = document.clone();
        close(closed["components"]["schemas"].as_object_mut().unwrap());
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler.add_resource(PLACE, closed).unwrap();
        Self {
            document,
            compiler,
            schemas: Schemas::new(),
        }
    }

    /// Every path with its parameters in braces.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
    }

    /// Those that can be read.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &str> {
        self.paths()
            .filter(|path| self.document["paths"][path].get("get").is_some())
    }

    /// The operation that answers `target`, a path with its query.
    pub(crate) fn path_of(&self, target: &str) -> Option<&str> {
        let path = target.split('?').next().unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &&str| {
            let named: Vec<&str> = template.split('/').collect();
            named.len() == parts.len()
                && named
                    .iter()
                    .zip(&parts)
                    .all(|(name, part)| name.starts_with('{') || name == part)
        };
        // A name beats a parameter: `/topology/layout` is no `/topology/{...}`.
        self.paths()
            .filter(fits)
            .max_by_key(|template| template.split('/').filter(|p| !p.starts_with('{')).count())
    }

    /// Query parameters that the document names for `target`, and whether there is no answer without them.
    pub(crate) fn parameters(&self, target: &str) -> BTreeMap<&str, bool> {
        let path = self.path_of(target).unwrap();
        let operation = &self.document["paths"][path]["get"];
        let parameters = &operation["parameters"];
        parameters
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| {
                (
                    parameter["name"].as_str().unwrap(),
                    parameter["required"] == true,
                )
            })
            .collect()
    }

    /// The schema of `target`'s answer of `status` and content type `kind`; `None` where the document names the type and
    /// a text is all it says of it.
    pub(crate) fn schema_of(&self, target: &str, status: u16, kind: &str) -> Option<String> {
        self.schema_of_act("get", target, status, kind)
    }

    /// As [`Self::schema_of`], of what is not a question.
    pub(crate) fn schema_of_act(
        &self,
        method: &str,
        target: &str,
        status: u16,
        kind: &str,
    ) -> Option<String> {
        let path = self.path_of(target).unwrap();
        let responses = &self.document["paths"][path][method]["responses"];
        let response = if status == 200 { "200" } else { "default" };
        let kind = kind.split(';').next().unwrap();
        let schema = responses[response]["content"][kind].get("schema");
        let schema = schema.unwrap_or_else(|| panic!("{target}: no {kind} for {status}"));
        let Some(reference) = schema["$ref"].as_str() else {
            assert_eq!(schema["type"], "string", "{target}: {kind}");
            return None;
        };
        Some(reference.strip_prefix(PREFIX).unwrap().to_owned())
    }

    /// The schema of what is sent with it; `None` where nothing is.
    pub(crate) fn request_of(&self, method: &str, target: &str) -> Option<String> {
        let path = self.path_of(target).unwrap();
        let body = &self.document["paths"][path][method]["requestBody"];
        let reference = body["content"]["application/json"]["schema"]["$ref"].as_str()?;
        Some(reference.strip_prefix(PREFIX).unwrap().to_owned())
    }

    /// Every operation that is no question: method and path.
    pub(crate) fn acts(&self) -> BTreeSet<(String, String)> {
        let paths = self.document["paths"].as_object().unwrap();
        let mut acts = BTreeSet::new();
        for (path, operations) in paths {
            for method in operations
                .as_object()
                .unwrap()
                .keys()
                .filter(|m| *m != "get")
            {
                acts.insert((method.clone(), path.clone()));
            }
        }
        acts
    }

    /// Says what of `body` is not as `schema` says; nothing when all is.
    pub(crate) fn refute(&mut self, schema: &str, body: &Value) -> Option<String> {
        let place = format!("{PLACE}{PREFIX}{schema}");
        let compiled: SchemaIndex = self
            .compiler
            .compile(&place, &mut self.schemas)
            .unwrap_or_else(|error| panic!("{schema}: {error:#}"));
        self.schemas
            .validate(body, compiled)
            .err()
            .map(|error| format!("{error:#}"))
    }
}

/// Closes every object, but those that are parts of others: there the whole is closed.
fn close(schemas: &mut Map<String, Value>) {
    let parts: BTreeSet<String> = schemas
        .values()
        .flat_map(|schema| schema["allOf"].as_array().into_iter().flatten())
        .filter_map(|part| part["$ref"].as_str()?.strip_prefix(PREFIX))
        .map(str::to_owned)
        .collect();
    for (name, schema) in schemas.iter_mut() {
        let object = schema.get("properties").is_some() || schema.get("allOf").is_some();
        if object && !parts.contains(name) {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
}
