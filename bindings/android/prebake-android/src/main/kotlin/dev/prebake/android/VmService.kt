package dev.prebake.android

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.Service
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.Intent
import android.content.pm.ServiceInfo
import android.os.Binder
import android.os.Build
import android.os.IBinder
import dev.prebake.vm.Prebake
import dev.prebake.vm.VmSession
import dev.prebake.vm.VmSpec
import java.io.File
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull

/**
 * A machine as a foreground service: restored when it starts, saved when the app goes.
 *
 * Start it with [start], bind to it for a terminal ([VmBinder]). It saves itself when the user swipes the app away, when the system is short of memory, and
 * every few minutes; if it is killed all the same, it goes on where it was saved last. Each start draws a new seed for the guest from `SecureRandom`.
 *
 * A subclass may choose the machine ([spec]), the notification ([notification]) and the place of the program ([launch]).
 */
open class VmService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.IO)
    private val sessions = MutableStateFlow<VmSession?>(null)

    /** What a bound activity gets. */
    inner class VmBinder : Binder() {
        /** The machine; `null` until the service was started. One that has ended stays, so that a screen can show how. */
        val session: StateFlow<VmSession?> = sessions.asStateFlow()
    }

    override fun onBind(intent: Intent?): IBinder = VmBinder()

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        goToForeground()
        if (sessions.value?.state?.value?.isFinal != false) {
            val image = intent?.getStringExtra(EXTRA_IMAGE)
            if (image == null) {
                stopSelf()
                return START_NOT_STICKY
            }
            begin(image, startId)
        }
        // After a kill the system starts it again with the same image, and the session goes on.
        return START_REDELIVER_INTENT
    }

    private fun begin(image: String, startId: Int) {
        val session = VmSession(spec(image)) { launch() }
        sessions.value = session
        scope.launch {
            session.await()
            // Unless it was started again, this is the end of the service, once no screen is bound to it.
            stopSelf(startId)
        }
    }

    /** The machine for [image]. */
    protected open fun spec(image: String): VmSpec = VmSpec(VmSpec.Source.Image(image))

    /** Starts the program: it is in the app's native libraries, the one place from which Android lets an app start programs. */
    protected open fun launch(): Prebake {
        val roots = CERTIFICATES.map(::File).firstOrNull(File::isDirectory)
        val environment = roots?.let { mapOf("SSL_CERT_DIR" to it.path) }.orEmpty()
        return Prebake.start(
            executable = File(applicationInfo.nativeLibraryDir, "libprebake.so"),
            // Snapshots hold what the user typed and saw: they are not for a backup in the cloud.
            home = File(noBackupFilesDir, "prebake"),
            environment = environment,
        )
    }

    /** How long the main thread may wait until the machine is saved. After some five seconds the system takes the app for hung. */
    protected open val saveMillis: Long get() = 4_000

    /** The user has swiped the app away. The process may be gone as soon as this returns. */
    override fun onTaskRemoved(rootIntent: Intent?) {
        saveAndEnd()
        stopForeground(STOP_FOREGROUND_REMOVE)
        stopSelf()
    }

    override fun onTrimMemory(level: Int) {
        if (level >= ComponentCallbacks2.TRIM_MEMORY_RUNNING_CRITICAL) {
            val session = sessions.value ?: return
            scope.launch { runCatching { session.checkpoint() } }
        }
    }

    override fun onDestroy() {
        saveAndEnd()
        scope.cancel()
        super.onDestroy()
    }

    private fun saveAndEnd() {
        val session = sessions.value ?: return
        // What is not saved by then its process still saves, if it is let.
        runBlocking { withTimeoutOrNull(saveMillis) { session.stop() } }
        session.close()
    }

    private fun goToForeground() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) {
            startForeground(NOTIFICATION, notification(), ServiceInfo.FOREGROUND_SERVICE_TYPE_SPECIAL_USE)
        } else {
            startForeground(NOTIFICATION, notification())
        }
    }

    protected open fun notification(): Notification {
        val channel = NotificationChannel(CHANNEL, "Machines", NotificationManager.IMPORTANCE_LOW)
        (getSystemService(Context.NOTIFICATION_SERVICE) as NotificationManager).createNotificationChannel(channel)
        return Notification.Builder(this, CHANNEL)
            .setContentTitle("A machine is running")
            .setSmallIcon(android.R.drawable.ic_media_play)
            .setOngoing(true)
            .build()
    }

    companion object {
        const val EXTRA_IMAGE = "dev.prebake.IMAGE"
        private const val CHANNEL = "prebake"
        private const val NOTIFICATION = 1
        private val CERTIFICATES = listOf("/apex/com.android.conscrypt/cacerts", "/system/etc/security/cacerts")

        /** Starts the machine of [image], or leaves it running. */
        fun start(context: Context, image: String, service: Class<out VmService> = VmService::class.java) {
            context.startForegroundService(Intent(context, service).putExtra(EXTRA_IMAGE, image))
        }
    }
}
