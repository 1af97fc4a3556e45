package android.content;

import android.content.pm.ApplicationInfo;
import java.io.File;

/** Of Android's class, what the service uses. A test sets the folders. */
public abstract class Context {
    public static final String NOTIFICATION_SERVICE = "notification";
    public static final int BIND_AUTO_CREATE = 1;

    public File testFolder;
    public ApplicationInfo testApplication = new ApplicationInfo();

    public File getNoBackupFilesDir() {
        return testFolder;
    }

    public ApplicationInfo getApplicationInfo() {
        return testApplication;
    }

    public Object getSystemService(String name) {
        return new android.app.NotificationManager();
    }

    public ComponentName startForegroundService(Intent intent) {
        return null;
    }

    public boolean bindService(Intent intent, ServiceConnection connection, int flags) {
        return true;
    }

    public void unbindService(ServiceConnection connection) {}
}
