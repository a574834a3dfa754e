import { Command } from 'commander'
import { AdapterDigest, AliasName, TenantId } from '../shared/ids.ts'
import { addEdgeOption, adminOf } from './admin-access.ts'
import { parsedBy } from './argument.ts'
import { note } from './output.ts'

export function aliasCommand(): Command {
  const alias = new Command('alias').description("a tenant's names for adapters")

  addEdgeOption(alias.command('set'))
    .description('let an alias name an adapter: a deployment, or a rollback')
    .argument('<tenant>', 'whose alias', parsedBy(TenantId))
    .argument('<alias>', 'the model name that clients ask for', parsedBy(AliasName))
    .argument('<digest>', 'SHA-256 of a published adapter', parsedBy(AdapterDigest))
    .action(async (tenant: TenantId, name: AliasName, digest: AdapterDigest, _options, command: Command) => {
      await (await adminOf(command)).setAlias(tenant, { alias: name, digest })
      note(`${tenant}: ${name} is ${digest}`)
    })

  return alias
}
