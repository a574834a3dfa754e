import { AdapterTable } from './adapter-table.ts'
import { AliasTable } from './alias-table.ts'
import { KeyTable } from './key-table.ts'
import { Outbox } from './outbox.ts'
import { TenantTable } from './tenant-table.ts'

/** All that a tenant's directory keeps. */
export interface Tables {
  readonly tenant: TenantTable
  readonly keys: KeyTable
  readonly adapters: AdapterTable
  readonly aliases: AliasTable
  readonly outbox: Outbox
}

export const tablesOf = (sql: SqlStorage): Tables => ({
  tenant: new TenantTable(sql),
  keys: new KeyTable(sql),
  adapters: new AdapterTable(sql),
  aliases: new AliasTable(sql),
  outbox: new Outbox(sql),
})
