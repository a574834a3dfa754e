import { AnswerForm } from '../../shared/api/structure.ts'
import type { AliasName } from '../../shared/ids.ts'

/** Room for the different forms of a tenant's aliases and their histories together, in characters of JSON. */
export const maxFormsLength = 1024 * 1024

interface VersionKey {
  readonly alias: AliasName
  readonly version: number
}

/** The forms that a tenant's aliases gave their answers, version by version. A form is kept once, however many share it. */
export class AliasForms {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** Those that aliases have now. */
  current(): readonly { readonly alias: AliasName; readonly id: number; readonly form: AnswerForm }[] {
    const parsed = new Map<number, AnswerForm>()
    return this.#sql
      .exec<{ alias: AliasName; id: number; text: string }>(
        'SELECT alias, id, text FROM aliases JOIN alias_forms USING (alias, version) JOIN forms ON id = form',
      )
      .toArray()
      .map(({ text, ...row }) => {
        const form = parsed.get(row.id) ?? AnswerForm.parse(JSON.parse(text))
        parsed.set(row.id, form)
        return { ...row, form }
      })
  }

  /** The form of one version, and its id. */
  ofVersion({ alias, version }: VersionKey): { readonly id: number; readonly form: AnswerForm } | undefined {
    const [row] = this.#sql
      .exec<{ id: number; text: string }>(
        'SELECT id, text FROM alias_forms JOIN forms ON id = form WHERE alias = ? AND version = ?',
        ...[alias, version],
      )
      .toArray()
    return row && { id: row.id, form: AnswerForm.parse(JSON.parse(row.text)) }
  }

  /** Whether there is room for a form besides those that some version has. */
  hasRoomFor(form: AnswerForm): boolean {
    const text = JSON.stringify(form)
    return this.#idOf(text) !== undefined || this.#length(text.length) <= maxFormsLength
  }

  keep(key: VersionKey, form: AnswerForm | null): void {
    if (form === null) return
    const text = JSON.stringify(form)
    this.#sql.exec('INSERT OR IGNORE INTO forms (text) VALUES (?)', text)
    this.#sql.exec(
      'INSERT OR REPLACE INTO alias_forms (alias, version, form) VALUES (?, ?, ?)',
      ...[key.alias, key.version, this.#idOf(text) ?? null],
    )
  }

  /** Forgets versions up to `version`. */
  forget({ alias, version }: VersionKey): void {
    this.#sql.exec('DELETE FROM alias_forms WHERE alias = ? AND version <= ?', alias, version)
  }

  clear(): void {
    for (const table of ['alias_forms', 'forms']) this.#sql.exec(`DELETE FROM ${table}`)
  }

  #idOf(text: string): number | undefined {
    return this.#sql.exec<{ id: number }>('SELECT id FROM forms WHERE text = ?', text).toArray()[0]?.id
  }

  /** The length of all forms together with `more`. Where that is too much, forms that no version has are removed first. */
  #length(more: number): number {
    const all = () =>
      more +
      Number(
        this.#sql.exec<{ sum: number }>('SELECT COALESCE(SUM(LENGTH(text)), 0) AS sum FROM forms').one().sum,
      )
    if (all() > maxFormsLength)
      this.#sql.exec('DELETE FROM forms WHERE id NOT IN (SELECT form FROM alias_forms)')
    return all()
  }
}
