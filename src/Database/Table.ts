/**
 * A table's columns and the fields that they are read into, written down once.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 * @category models
 */
export interface Table<Row> {
  /** The columns for a `select` or `returning`, each under its field's name: what comes back is a `Row` already. */
  readonly selection: string
  /** The columns for an `insert` or `update`; fields that the table does not have are left out. */
  readonly encode: (row: Partial<Row>) => Record<string, unknown>
  readonly column: (field: keyof Row & string) => string
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = <Row>(columns: { readonly [Field in keyof Row & string]: string }): Table<Row> => {
  const fields = Object.keys(columns) as Array<keyof Row & string>
  return {
    selection: fields.map((field) => `${columns[field]} as "${field}"`).join(", "),
    encode: (row) => {
      const encoded: Record<string, unknown> = {}
      for (const field of fields) if (row[field] !== undefined) encoded[columns[field]] = row[field]
      return encoded
    },
    column: (field) => columns[field]
  }
}
