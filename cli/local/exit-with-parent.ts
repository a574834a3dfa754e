/**
 * Loaded before a service's own code (`node --import`): when the parent is gone, however it went, its end of the IPC
 * channel closes, and the service stops as on SIGTERM. It leads its process group, so whatever it leaves behind, or
 * itself when it does not stop in time, ends with the group.
 */
const graceMs = 5000

const endGroup = () => process.kill(-process.pid, 'SIGKILL')

process.on('disconnect', () => {
  process.on('exit', endGroup)
  setTimeout(endGroup, graceMs).unref()
  if (!process.emit('SIGTERM', 'SIGTERM')) endGroup()
})
process.channel?.unref()
