/**
 * The sealed rows of a table, as the rotation of keys goes through them.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { StoreUnavailable } from "../CredentialsError.ts"
import * as Statement from "../Database/Statement.ts"
import type { Table } from "../Database/Table.ts"
import type { Count, SealedRow, SealedRows } from "../Rewrapping.ts"

/**
 * Over the columns `key_id` and `sealed` of a table; `id` names the fields of its primary key, which are texts. New bytes
 * are put in place by one statement, which waits for nobody: it passes over rows that a transaction holds, so that no
 * deadlock can come of it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Row extends SealedRow>(
  sql: SqlClient.SqlClient,
  options: { readonly name: string; readonly table: Table<Row>; readonly id: ReadonlyArray<keyof Row & string> }
): SealedRows<Row, StoreUnavailable> => {
  const name = sql(options.name)
  const selection = sql.literal(options.table.selection)
  const columns = options.id.map(options.table.column)
  const id = sql.literal(columns.join(", "))
  const idOf = (row: Row) => options.id.map((field) => String(row[field]))
  const fields = sql.literal([...columns, "read", "sealed"].map((column) => `${column} text`).join(", "))
  const isSame = sql.literal(columns.map((column) => `stored.${column} = fresh.${column}`).join(" and "))
  const freeId = sql.literal(columns.map((column) => `stored.${column}`).join(", "))
  const isFree = sql.literal(columns.map((column) => `stored.${column} = free.${column}`).join(" and "))

  return {
    id: idOf,
    besides: (keyId) =>
      Statement.read(
        // two ranges of the index rather than all of it
        sql<Count>`
          select key_id as "keyId", count(*)::int as count from ${name} where key_id < ${keyId} group by key_id
          union all
          select key_id, count(*)::int from ${name} where key_id > ${keyId} group by key_id
          order by 1`
      ),
    page: (keyId, after, limit) =>
      Statement.read(
        sql<Row>`
          select ${selection} from ${name}
          where ${sql.and([
            sql`key_id = ${keyId}`,
            ...Option.toArray(after).map((last) => sql`(${id}) > ${sql.in(last)}`)
          ])}
          order by ${id} limit ${limit}`
      ),
    reseal: (rows) => {
      const [first] = rows
      if (first === undefined) return Effect.succeed(0)
      const fresh = rows.map(({ row, sealed }) => ({
        ...Object.fromEntries(columns.map((column, index) => [column, idOf(row)[index]])),
        read: Buffer.from(row.sealed).toString("hex"),
        sealed: Buffer.from(sealed.bytes).toString("hex")
      }))
      return Statement.write(
        Effect.map(
          sql`
            with fresh as (select * from jsonb_to_recordset(${JSON.stringify(fresh)}::jsonb) as fresh (${fields})),
            free as materialized (
              select ${freeId}, fresh.sealed from ${name} stored join fresh on ${isSame}
              where stored.sealed = decode(fresh.read, 'hex') for update of stored skip locked
            )
            update ${name} stored set key_id = ${first.sealed.keyId}, sealed = decode(free.sealed, 'hex')
            from free where ${isFree} returning 1`,
          (updated) => updated.length
        )
      )
    }
  }
}
