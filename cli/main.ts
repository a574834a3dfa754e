#!/usr/bin/env node
import { Command } from 'commander'
import { version } from '../shared/version.ts'
import { adapterCommand } from './adapter.ts'
import { aliasCommand } from './alias.ts'
import { auditCommand } from './audit.ts'
import { backboneCommand } from './backbone.ts'
import { CliFailure, describeFailure } from './command/failure.ts'
import { endWithReader, note } from './command/output.ts'
import { addGlobalOptions } from './command/settings.ts'
import { keyCommand } from './key.ts'
import { nodeCommand } from './node.ts'
import { startCommand } from './start.ts'
import { tenantCommand } from './tenant.ts'
import { topCommand } from './top.ts'
import { trainerCommand } from './trainer-command.ts'
import { usageCommand } from './usage.ts'

endWithReader()

const program = addGlobalOptions(new Command('quartet'))
  .version(version)
  .description("serve many tenants' tuned variants of one language model")
  .showSuggestionAfterError()
  .configureOutput({
    outputError: (text, write) => write(text.replace(/^error: /, 'quartet: ')),
  })

for (const command of [
  startCommand(),
  nodeCommand(),
  trainerCommand(),
  backboneCommand(),
  adapterCommand(),
  tenantCommand(),
  keyCommand(),
  aliasCommand(),
  usageCommand(),
  auditCommand(),
  topCommand(),
])
  program.addCommand(inheritSettings(command))

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CliFailure) for (const line of error.log) note(`  ${line}`)
  note(`quartet: ${describeFailure(error)}`)
  if (program.opts<{ debug?: true }>().debug) console.error(error)
  process.exitCode = 1
}

/** The program's settings in a whole tree of commands; commander copies them only into commands it makes itself. */
function inheritSettings(command: Command): Command {
  for (const inner of command.commands) inheritSettings(inner)
  return command.copyInheritedSettings(program)
}
