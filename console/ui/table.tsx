import type { ComponentChildren } from 'preact'

export interface Column<T> {
  readonly title: string
  readonly cell: (row: T) => ComponentChildren
  readonly numeric?: true
}

/** A table. On a phone each row becomes a block, its cells named by their columns. */
export function Table<T>({
  label,
  columns,
  rows,
  id,
}: {
  label: string
  columns: readonly Column<T>[]
  rows: readonly T[]
  id: (row: T) => string
}) {
  return (
    <table aria-label={label}>
      <thead>
        <tr>
          {columns.map(({ title, numeric }) => (
            <th key={title} scope="col" class={numeric ? 'number' : undefined}>
              {title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={id(row)}>
            {columns.map(({ title, cell, numeric }) => (
              <td key={title} data-title={title} class={numeric ? 'number' : undefined}>
                {cell(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  )
}
