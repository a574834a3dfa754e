import { listDurableObjectIds, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'

/** Ids of the idempotent calls of which anything is stored, an alarm included. */
export async function keptCalls(): Promise<string[]> {
  const ids = await listDurableObjectIds(env.IDEMPOTENCY)
  const kept = await Promise.all(
    ids.map((id) =>
      runInDurableObject(env.IDEMPOTENCY.get(id), async (_call, { storage }) => {
        const tables = storage.sql.exec("SELECT name FROM sqlite_schema WHERE name = 'call'").toArray()
        return tables.length > 0 || (await storage.getAlarm()) !== null ? [String(id)] : []
      }),
    ),
  )
  return kept.flat().toSorted()
}
