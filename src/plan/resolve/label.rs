//! Labels: an expression over the predicted row, or a value that another stream brings later (S10.5).

use arrow::datatypes::DataType;

use super::{Resolver, same_key_type, type_name};
use crate::config::declaration::{Label, Spanned};
use crate::diagnostic::Diagnostic;
use crate::expressions::{self, Scope};
use crate::plan::{LabelPlan, codes};

impl Resolver<'_> {
    /// The label of a model that predicts the rows of `stream`; `None` when it is wrong.
    pub(super) fn label(&mut self, label: &Spanned<Label>, stream: usize) -> Option<LabelPlan> {
        match &label.value {
            Label::Column(sql) => {
                let scope = Scope::from_schema(&self.streams[stream].schema);
                let value = self.compiled(sql, expressions::compile_as(&sql.value, &scope, &DataType::Float64))?;
                Some(LabelPlan::Column(value))
            }
            Label::Stream { stream: from, on, value, within, expired_negative } => {
                let labels = self.stream(from)?;
                let row_key = self.label_key(stream, on, "the predicted rows");
                let label_key = row_key.and_then(|_| self.label_key(labels, on, "the labels"));
                let scope = Scope::from_schema(&self.streams[labels].schema);
                let value = self.compiled(value, expressions::compile_as(&value.value, &scope, &DataType::Float64));
                let (row_key, label_key, value) = (row_key?, label_key?, value?);
                let rows = self.streams[stream].schema.field(row_key).data_type().clone();
                let brought = self.streams[labels].schema.field(label_key).data_type().clone();
                if !same_key_type(&rows, &brought) {
                    let message = format!(
                        "`{}` is {} in `{}` and {} in `{}`",
                        on.value,
                        type_name(&rows),
                        self.streams[stream].id.name(),
                        type_name(&brought),
                        from.value
                    );
                    let help = "labels find their rows by equal values of one type: declare the same type on both sides";
                    self.report(Diagnostic::error(codes::LABEL, on.span.clone(), message).help(help));
                    return None;
                }
                Some(LabelPlan::Stream { stream: labels, row_key, label_key, value, within: *within, expired_negative: *expired_negative })
            }
        }
    }

    fn label_key(&mut self, stream: usize, on: &Spanned<String>, what: &str) -> Option<usize> {
        let schema = self.streams[stream].schema.clone();
        let owner = format!("`{}` ({what})", self.streams[stream].id.name());
        let index = self.column(&schema, on, &owner)?;
        self.key_type(schema.field(index).data_type(), on, "the column that labels are matched on").then_some(index)
    }
}
