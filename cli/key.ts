import { Command } from 'commander'
import { KeyId, TenantId } from '../shared/ids.ts'
import { addEdgeOption, adminOf } from './admin-access.ts'
import { parsedBy } from './argument.ts'
import { note, print } from './output.ts'

export function keyCommand(): Command {
  const key = new Command('key').description("a tenant's API keys")

  addEdgeOption(key.command('create'))
    .description('create a key and print it, once: the edge keeps only its hash')
    .argument('<tenant>', 'whose key', parsedBy(TenantId))
    .option('--name <name>', 'what it is for')
    .action(async (tenant: TenantId, options: { name?: string }, command: Command) => {
      const created = await (await adminOf(command)).createKey(tenant, options.name)
      note(`${created.id}: keep the key below, it is shown only now`)
      print(created.key)
    })

  addEdgeOption(key.command('revoke'))
    .description('end a key')
    .argument('<tenant>', 'whose key', parsedBy(TenantId))
    .argument('<key-id>', 'key_… as quartet tenant show lists it, not the key itself', parsedBy(KeyId))
    .action(async (tenant: TenantId, id: KeyId, _options, command: Command) => {
      await (await adminOf(command)).revokeKey(tenant, id)
      note(`${id} is revoked`)
    })

  return key
}
