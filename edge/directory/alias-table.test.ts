import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, test } from 'vitest'
import { maxHistory, maxPastAliases } from '../../shared/api/deployments.ts'
import { AdapterDigest, AliasName } from '../../shared/ids.ts'
import { AliasTable } from './alias-table.ts'

const digest = AdapterDigest.parse('a'.repeat(64))
const alias = (at: number) => AliasName.parse(`alias-${at}`)

/** A directory's aliases in the storage of a real object, and how many rows its histories take. */
const inDirectory = (work: (aliases: AliasTable, rows: () => number) => void) =>
  runInDurableObject(env.TENANTS.get(env.TENANTS.newUniqueId()), (_directory, { storage: { sql } }) => {
    sql.exec(`INSERT INTO adapters VALUES (?, 'tiny', 'static', 2, 100, 0, NULL)`, digest)
    work(new AliasTable(sql), () =>
      Number(sql.exec<{ count: number }>('SELECT COUNT(*) AS count FROM deployments').one().count),
    )
  })
const deploy = {
  action: 'deploy',
  by: 'admin',
  to: { digest, canary: null, form: null, shadow: null },
} as const
const remove = { action: 'delete', by: 'admin', to: null } as const

test('the histories of the aliases deleted last are kept, however many come and go', async () => {
  await inDirectory((aliases, rows) => {
    const extra = 10
    aliases.record({ alias: AliasName.parse('lives'), ...deploy })
    for (let at = 0; at < maxPastAliases + extra; at++)
      for (const change of [deploy, remove]) aliases.record({ alias: alias(at), ...change })
    expect(rows()).toBe(1 + 2 * maxPastAliases)
    expect(aliases.history(alias(extra - 1), { limit: 10 })).toEqual([])
    expect(aliases.history(alias(extra), { limit: 10 }).map(({ action }) => action)).toEqual([
      'delete',
      'deploy',
    ])
    expect(aliases.history(AliasName.parse('lives'), { limit: 10 })).toHaveLength(1)
  })
})

test('an alias that is created again keeps its history and counts on, whatever is deleted after it', async () => {
  await inDirectory((aliases) => {
    const again = AliasName.parse('again')
    for (const change of [deploy, remove, deploy]) aliases.record({ alias: again, ...change })
    for (let at = 0; at <= maxPastAliases; at++)
      for (const change of [deploy, remove]) aliases.record({ alias: alias(at), ...change })
    expect(aliases.find(again)?.version).toBe(3)
    expect(aliases.history(again, { limit: 10 })).toHaveLength(3)
  })
})

test('the last changes of a living alias are kept', async () => {
  await inDirectory((aliases, rows) => {
    for (let at = 0; at < maxHistory + 5; at++) aliases.record({ alias: alias(0), ...deploy })
    expect(rows()).toBe(maxHistory)
    expect(aliases.history(alias(0), { limit: 1 })[0]?.version).toBe(maxHistory + 5)
  })
})
