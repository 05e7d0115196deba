//! Reads TOML tables key by key: a wrong type or an unknown key is an error that names its place.

use toml::{Table, Value};

/// Something in a profile or scenario is not as it must be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place}: {problem}")]
pub struct TableError {
    /// Dotted path of the key.
    pub place: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A table that is being read; what is left at [`Reader::finish`] is unknown.
pub struct Reader {
    place: String,
    table: Table,
}

impl Reader {
    /// Starts at the root of a document.
    pub fn root(place: &str, table: Table) -> Reader {
        Reader { place: place.to_owned(), table }
    }

    /// An error at `key`.
    pub fn error(&self, key: &str, problem: impl Into<String>) -> TableError {
        TableError { place: format!("{}.{key}", self.place), problem: problem.into() }
    }

    fn wrong(&self, key: &str, wanted: &str, found: &Value) -> TableError {
        self.error(key, format!("is {} where {wanted} is needed", found.type_str()))
    }

    /// Takes any value.
    pub fn any(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    /// Takes an optional text.
    ///
    /// # Errors
    /// The value is no text.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, TableError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a text", &other)),
        }
    }

    /// Takes an optional whole number within a range.
    ///
    /// # Errors
    /// The value is no whole number or out of range.
    pub fn whole(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, TableError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Integer(number)) if range.contains(&number) => Ok(Some(number)),
            Some(Value::Integer(number)) => {
                Err(self.error(key, format!("is {number}, outside {}..={}", range.start(), range.end())))
            }
            Some(other) => Err(self.wrong(key, "a whole number", &other)),
        }
    }

    /// Takes an optional number within a range.
    ///
    /// # Errors
    /// The value is no number or out of range.
    pub fn number(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<Option<f64>, TableError> {
        let number = match self.table.remove(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => number as f64,
            Some(Value::Float(number)) => number,
            Some(other) => return Err(self.wrong(key, "a number", &other)),
        };
        if range.contains(&number) {
            Ok(Some(number))
        } else {
            Err(self.error(key, format!("is {number}, outside {}..={}", range.start(), range.end())))
        }
    }

    /// Takes an optional list; `what` names its items.
    ///
    /// # Errors
    /// The value is no list or has more than 4096 items.
    pub fn list(&mut self, key: &str) -> Result<Vec<Value>, TableError> {
        match self.table.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= 4096 => Ok(items),
            Some(Value::Array(_)) => Err(self.error(key, "has more than 4096 items")),
            Some(other) => Err(self.wrong(key, "a list", &other)),
        }
    }

    /// Takes an optional sub-table; a missing one reads as empty.
    ///
    /// # Errors
    /// The value is no table.
    pub fn table(&mut self, key: &str) -> Result<Reader, TableError> {
        let place = format!("{}.{key}", self.place);
        match self.table.remove(key) {
            None => Ok(Reader { place, table: Table::new() }),
            Some(Value::Table(table)) => Ok(Reader { place, table }),
            Some(other) => Err(self.wrong(key, "a table", &other)),
        }
    }

    /// Takes an optional list of tables.
    ///
    /// # Errors
    /// The value is no list, or an item is no table.
    pub fn tables(&mut self, key: &str) -> Result<Vec<Reader>, TableError> {
        let mut readers = Vec::new();
        for (at, item) in self.list(key)?.into_iter().enumerate() {
            match item {
                Value::Table(table) => {
                    readers.push(Reader { place: format!("{}.{key}[{at}]", self.place), table });
                }
                other => return Err(self.wrong(key, "a list of tables", &other)),
            }
        }
        Ok(readers)
    }

    /// Takes everything that is left as `(key, value)` pairs.
    pub fn rest(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.table).into_iter().collect()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// A key is left over: nobody knows it.
    pub fn finish(self) -> Result<(), TableError> {
        match self.table.keys().next() {
            Some(key) => Err(self.error(key, "is not a known key")),
            None => Ok(()),
        }
    }
}
