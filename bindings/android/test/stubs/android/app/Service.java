package android.app;

import android.content.ComponentCallbacks2;
import android.content.Context;
import android.content.Intent;
import android.os.IBinder;
import java.util.List;

/** Of Android's class, what the service uses. It notes what it is asked for, in order. */
public abstract class Service extends Context implements ComponentCallbacks2 {
    public static final int START_NOT_STICKY = 2;
    public static final int START_REDELIVER_INTENT = 3;
    public static final int STOP_FOREGROUND_REMOVE = 1;

    public final List<String> testCalls = new java.util.concurrent.CopyOnWriteArrayList<>();

    /** As the system does while the app is hidden. */
    public boolean testRefusesForeground;

    public abstract IBinder onBind(Intent intent);

    public int onStartCommand(Intent intent, int flags, int startId) {
        return START_NOT_STICKY;
    }

    public void onTaskRemoved(Intent rootIntent) {}

    @Override
    public void onTrimMemory(int level) {}

    public void onDestroy() {}

    public final void startForeground(int id, Notification notification) {
        note("startForeground");
    }

    public final void startForeground(int id, Notification notification, int type) {
        note("startForeground " + type);
    }

    private void note(String call) {
        if (testRefusesForeground) throw new IllegalStateException(call + " is not allowed");
        testCalls.add(call);
    }

    public final void stopForeground(int flags) {
        testCalls.add("stopForeground");
    }

    public final void stopSelf() {
        testCalls.add("stopSelf");
    }

    public final void stopSelf(int startId) {
        testCalls.add("stopSelf " + startId);
    }
}
