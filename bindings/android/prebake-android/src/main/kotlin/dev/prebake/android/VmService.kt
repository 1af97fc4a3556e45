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
import dev.prebake.vm.PrebakeException
import dev.prebake.vm.VmSession
import dev.prebake.vm.VmSpec
import java.io.File
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
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
 * A foreground service that runs a machine.
 *
 * Start it with [start], and bind to it to show a terminal ([VmBinder]). The service restores the machine when it starts, and saves it when the user swipes the
 * app away, when memory is short, and every few minutes. If the system kills it without warning, the machine resumes from its last save. Each start gives the
 * guest's random generator a new seed from `SecureRandom`.
 *
 * Subclasses can change the machine ([spec]), the notification ([notification]) and how the program is started ([launch]).
 */
open class VmService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.IO)
    private val sessions = MutableStateFlow<VmSession?>(null)

    /** Gives a bound activity access to the machine. */
    inner class VmBinder : Binder() {
        /** The machine, or `null` until the service is started. After its end it stays available, so that a screen can show why it ended. */
        val session: StateFlow<VmSession?> = sessions.asStateFlow()
    }

    override fun onBind(intent: Intent?): IBinder = VmBinder()

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        val isIdle = sessions.value?.state?.value?.isFinal != false
        if (!goToForeground() && isIdle) {
            // A machine that starts here would be killed soon. It is started again once the user comes back to the app.
            stopSelf(startId)
            return START_NOT_STICKY
        }
        if (isIdle) {
            val image = intent?.getStringExtra(EXTRA_IMAGE)
            if (image == null) {
                stopSelf()
                return START_NOT_STICKY
            }
            begin(image, startId)
        }
        // After a kill the system starts the service again with the same image, which resumes the session.
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

    /** Returns the machine for [image]. */
    protected open fun spec(image: String): VmSpec = VmSpec(VmSpec.Source.Image(image))

    /**
     * Starts the program, which is among the app's native libraries: Android lets apps start programs from nowhere else.
     *
     * @throws PrebakeException.ProcessDied if it cannot be started.
     */
    protected open fun launch(): Prebake {
        val program = File(applicationInfo.nativeLibraryDir, "libprebake.so")
        if (!program.exists()) {
            val problem = "$program is missing; set packaging.jniLibs.useLegacyPackaging = true in the app's build file, and package it for ${Build.SUPPORTED_ABIS[0]}"
            throw PrebakeException.ProcessDied(problem)
        }
        val roots = CERTIFICATES.map(::File).firstOrNull(File::isDirectory)
        val environment = roots?.let { mapOf("SSL_CERT_DIR" to it.path) }.orEmpty()
        return Prebake.start(
            executable = program,
            // Snapshots contain what the user typed and saw, which does not belong in a cloud backup.
            home = File(noBackupFilesDir, "prebake"),
            environment = environment,
        )
    }

    /** How long the main thread waits for the machine to be saved. After about five seconds the system reports that the app is not responding. */
    protected open val saveTimeout: Duration get() = 4.seconds

    /** Saves the machine, since the user has swiped the app away and its process may be killed as soon as this returns. */
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
        // If that takes longer, the machine's process still saves it, unless the system kills that, too.
        runBlocking { withTimeoutOrNull(saveTimeout) { session.stop() } }
        session.close()
    }

    /** Returns whether the system allows it. From Android 12 on it may not, if it starts the service again while the app is hidden. */
    private fun goToForeground(): Boolean = try {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) {
            startForeground(NOTIFICATION, notification(), ServiceInfo.FOREGROUND_SERVICE_TYPE_SPECIAL_USE)
        } else {
            startForeground(NOTIFICATION, notification())
        }
        true
    } catch (_: IllegalStateException) {
        // ForegroundServiceStartNotAllowedException, which Android has had since 12.
        false
    }

    /** Returns the notification that is shown while the machine runs. */
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
        /** The reference of the image, an extra of the intent that starts the service. */
        const val EXTRA_IMAGE = "dev.prebake.IMAGE"
        private const val CHANNEL = "prebake"
        private const val NOTIFICATION = 1
        private val CERTIFICATES = listOf("/apex/com.android.conscrypt/cacerts", "/system/etc/security/cacerts")

        /**
         * Starts the machine of [image], unless it is running already. Call it while the app is visible.
         *
         * @throws IllegalStateException from Android 12 on, if the app is in the background.
         */
        fun start(context: Context, image: String, service: Class<out VmService> = VmService::class.java) {
            context.startForegroundService(Intent(context, service).putExtra(EXTRA_IMAGE, image))
        }
    }
}
